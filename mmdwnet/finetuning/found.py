"""What was found in a folder of data, whatever format it has."""

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


@dataclass(frozen=True)
class Sample:
    """An image and its annotation.

    Attributes:
        path: The image file, absolute.
        size: Its width and height in pixels.
        label: Index of its class, for classification.
        objects: What is in it, for detection.
        map: The file of its label map, for segmentation.
    """

    path: Path
    size: tuple[int, int]
    label: int | None = None
    objects: tuple[Object, ...] = ()
    map: Path | None = None


@dataclass
class Found:
    """A set of data that a model can be trained on.

    Attributes:
        task: 'classify', 'detect' or 'segment'.
        format: Its name for people, such as 'class folders'.
        classes: The names of the classes.
        splits: Samples of 'train', 'val' and, if there is one, 'test'.
        masks: Whether all objects have a segmentation, for detection.
        notes: Sentences about what was done or is remarkable.
        left_out: Sentences about what is not used, and why.
    """

    task: str
    format: str
    classes: list[str]
    splits: dict[str, list[Sample]]
    masks: bool = False
    notes: list[str] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)
