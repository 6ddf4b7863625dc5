"""Classes, colors, sizes and counts of digit scenes."""

from dataclasses import dataclass, fields

from mmdwnet.errors import UserError

CLASSES = ('zero', 'one', 'two', 'three', 'four', 'five', 'six', 'seven', 'eight', 'nine')
SEG_CLASSES = ('ground', *CLASSES)
# One RGB color per entry of SEG_CLASSES; PALETTE[1:] goes with CLASSES.
PALETTE = [
    (70, 76, 84),
    (230, 73, 61),
    (247, 151, 43),
    (245, 211, 60),
    (140, 198, 63),
    (38, 166, 91),
    (38, 190, 190),
    (52, 132, 228),
    (106, 90, 205),
    (190, 82, 200),
    (240, 110, 165),
]


@dataclass(frozen=True)
class DigitSceneOptions:
    """Sizes (in pixels) and counts of a set of digit scenes; equal options give identical files.

    Attributes:
        seed: Seed of the split and of every image.
        cls_size: Side of a classification image.
        cls_every: 1 to draw all digits for classification, 2 for every second one, and so on.
        cls_train_per_digit: Classification images per training digit.
        cls_val_per_digit: Classification images per validation digit.
        scene_size: Side of a scene.
        train_scenes: Number of training scenes.
        val_scenes: Number of validation scenes.
        max_digits: Maximum number of digits in a scene; the minimum is 1.
        min_digit_size: Minimum of the longer side of a digit's box in a scene, to a few percent.
        max_digit_size: Maximum of the longer side of a digit's box in a scene.
    """

    seed: int = 0
    cls_size: int = 64
    cls_every: int = 1
    cls_train_per_digit: int = 8
    cls_val_per_digit: int = 2
    scene_size: int = 160
    train_scenes: int = 1500
    val_scenes: int = 100
    max_digits: int = 3
    min_digit_size: int = 44
    max_digit_size: int = 80

    def __post_init__(self) -> None:
        """Check the values.

        Raises:
            UserError: A value is out of range, or two values contradict each other.
        """
        least = {'seed': 0, 'cls_size': 16, 'min_digit_size': 12}
        for field in fields(self):
            value, low = getattr(self, field.name), least.get(field.name, 1)
            if value < low:
                raise UserError(f'digit scenes: {field.name} is {value}; it must be at least {low}')
        if self.seed >= 2**32:
            raise UserError(f'digit scenes: seed is {self.seed}; it must be below 2**32')
        if self.min_digit_size > self.max_digit_size:
            raise UserError(
                f'digit scenes: min_digit_size {self.min_digit_size} is above '
                f'max_digit_size {self.max_digit_size}; swap or change them'
            )
        if self.max_digit_size > self.scene_size:
            raise UserError(
                f'digit scenes: max_digit_size {self.max_digit_size} does not fit into '
                f'scene_size {self.scene_size}; make the digits smaller or the scenes larger'
            )
