"""The study's pictures: of clothes where Fashion-MNIST is given, else of digits."""

from functools import partial
from pathlib import Path

from mmdwnet.errors import UserError

from ..digit_scenes import DigitSceneOptions, make_digit_scenes
from ..making import make_once
from ..picture_sets.fashion import write_fashion

# Where Debian's package dataset-fashion-mnist puts it.
FASHION = Path('/usr/share/datasets/fashion-mnist')
CLOTHES = {'train': 400, 'val': 200}  # per class
# About as many. The scenes of several digits are of no use here.
DIGITS = DigitSceneOptions(
    cls_size=56, cls_train_per_digit=3, cls_val_per_digit=5, train_scenes=1, val_scenes=1
)
_DATA = Path('data/study')
_say = partial(print, flush=True)


def make_pictures(fashion: Path) -> Path:
    """Make the pictures in the current folder, unless they are there already.

    Args:
        fashion: Folder of Fashion-MNIST's files. If it is the default, it may be missing.

    Returns:
        The folder that holds `train` and `val`, each with a folder of pictures for each class.

    Raises:
        UserError: The folder is missing, or the pictures cannot be written.
    """
    if fashion.is_dir():
        record = {'version': 1, **CLOTHES}
        root = _DATA / 'fashion'
        write = partial(_write_clothes, fashion)
        make_once('pictures of clothes', root, record, write, force=False, log=_say)
        return root / 'folders'
    if fashion != FASHION:
        raise UserError(f'there is no folder {fashion}: give that of the files of Fashion-MNIST')
    _say(f'there is no {fashion} (apt-get install dataset-fashion-mnist): digits are drawn instead')
    root = _DATA / 'digits'
    make_digit_scenes(root, DIGITS, log=_say)
    return root / 'imagenet'


def _write_clothes(fashion: Path, folder: Path) -> None:
    write_fashion(fashion, folder, CLOTHES)
