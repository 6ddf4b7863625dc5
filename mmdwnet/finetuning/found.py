"""What was found in a folder of data, whatever format it has."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Object:
    """An annotated object.

    Attributes:
        label: Index of its class.
        box: x1, y1, x2, y2 in pixels, within the image.
        segmentation: Polygons or run lengths as in COCO's JSON files; None for a box alone.
    """

    label: int
    box: tuple[float, float, float, float]
    segmentation: Any = None

    @classmethod
    def outlined(cls, label: int, points: Sequence[float]) -> 'Object':
        """Return an object with the outline x1, y1, x2, y2, and so on."""
        x, y = points[::2], points[1::2]
        return cls(label, (min(x), min(y), max(x), max(y)), [list(points)])


@dataclass(frozen=True)
class Sample:
    """An image and its annotation.

    Attributes:
        path: The image file, absolute.
        size: Its width and height in pixels.
        label: Index of its class, for classification.
        objects: What is in it, for detection, or for label maps that are to be drawn.
        map: The file of its label map, for segmentation.
        labels: Indices of the classes in its label map.
    """

    path: Path
    size: tuple[int, int]
    label: int | None = None
    objects: tuple[Object, ...] = ()
    map: Path | None = None
    labels: frozenset[int] = frozenset()


@dataclass
class Found:
    """A set of data that a model can be trained on.

    Attributes:
        task: 'classify', 'detect' or 'segment'.
        format: Its name for people, such as 'class folders'.
        classes: The names of the classes.
        splits: Samples of 'train', 'val' and, if there is one, 'test'. While a format is read, ''
            has those of no split.
        masks: Whether all objects have a segmentation, for detection.
        notes: Sentences about what was done or is remarkable.
        left_out: Sentences about what is not used, and why.
        colored: Whether the colors of the label maps' pixels say their class, not their values.
        values: The class of each value in the label maps, where the value is not the index of the
            class. Colors are values as 0xRRGGBB. Other values are ignored.
        palette: The color of each class, if the data have a file of them.
    """

    task: str
    format: str
    classes: list[str]
    splits: dict[str, list[Sample]]
    masks: bool = False
    notes: list[str] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)
    colored: bool = False
    values: dict[int, int] | None = None
    palette: list[tuple[int, int, int]] | None = None
