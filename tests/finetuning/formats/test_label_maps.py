from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mmdwnet.errors import UserError
from mmdwnet.finetuning.discover import find_data
from mmdwnet.finetuning.found import Found

from ..making import HEIGHT, WIDTH, picture, write

CAMVID = [(128, 128, 128), (128, 64, 128), (192, 0, 128)]


def label_map(path: Path, labels: list[int], palette: list | None = None, mode: str = 'L') -> None:
    """A map of stripes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    stripes = np.repeat(np.array(labels, np.uint8), HEIGHT)[:, None].repeat(WIDTH, 1)
    if palette:
        stripes = np.array(palette, np.uint8)[stripes]
    image = Image.fromarray(stripes).resize((WIDTH, HEIGHT), Image.Resampling.NEAREST)
    if mode == 'P' and not palette:
        image.putpalette([0, 0, 0, 128, 0, 0, 0, 128, 0] + [224] * 759)  # as Pascal VOC's
    else:
        image = image.quantize() if mode == 'P' else image.convert(mode) if mode != 'L' else image
    image.save(path)


def make(root: Path, labels: list[int], **options: object) -> Found:
    for number in range(5):
        picture(root / f'images/{number}.jpg')
        label_map(root / f'masks/{number}.png', labels, **options)
    return find_data('segment', root)


@pytest.mark.parametrize(
    ('image', 'mask'),
    [
        ('images/{split}/{name}.jpg', 'annotations/{split}/{name}.png'),
        ('{split}/images/{name}.jpg', '{split}/masks/{name}.png'),
        ('img_dir/{split}/{name}.jpg', 'ann_dir/{split}/{name}.png'),
        ('{split}/{name}.png', '{split}_labels/{name}_L.png'),
        (
            'leftImg8bit/{split}/x/{name}_leftImg8bit.png',
            'gtFine/{split}/x/{name}_gtFine_labelIds.png',
        ),
        ('{split}/{name}.jpg', '{split}/{name}_mask.png'),
        ('{split}/{name}/image.png', '{split}/{name}/label.png'),
    ],
)
def test_layouts(tmp_path: Path, image: str, mask: str) -> None:
    for split, names in (('train', ('a 1', 'b_2', '3')), ('val', ('c', 'd'))):
        for name in names:
            picture(tmp_path / image.format(split=split, name=name))
            label_map(tmp_path / mask.format(split=split, name=name), [0, 1])
    found = find_data('segment', tmp_path)
    for split, names in (('train', ('3', 'a 1', 'b_2')), ('val', ('c', 'd'))):
        pairs = {(one.path, one.map) for one in found.splits[split]}
        assert pairs == {
            (
                tmp_path / image.format(split=split, name=name),
                tmp_path / mask.format(split=split, name=name),
            )
            for name in names
        }


def test_lists_of_pascal_voc(tmp_path: Path) -> None:
    for name in 'abcd':
        picture(tmp_path / f'JPEGImages/{name}.jpg')
        if name != 'd':
            label_map(tmp_path / f'SegmentationClass/{name}.png', [0, 1, 255], mode='P')
    write(tmp_path / 'ImageSets/Segmentation/train.txt', 'a\nb\n')
    write(tmp_path / 'ImageSets/Segmentation/val.txt', 'c\n')
    found = find_data('segment', tmp_path)
    assert [one.path.stem for one in found.splits['val']] == ['c']
    assert found.classes == ['background', 'class 1']
    assert found.values is None
    assert '1 images that have no label map' in found.left_out


@pytest.mark.parametrize(
    ('labels', 'names', 'classes', 'values'),
    [
        ([0, 1, 255], 'road\nsky\n', ['road', 'sky'], None),
        ([1, 2, 255], 'road\nsky\n', ['road', 'sky'], {1: 0, 2: 1}),
        ([0, 1, 2], 'road\nsky\n', ['background', 'road', 'sky'], None),
        ([0, 1], 'road\nsky\nsea\n', ['road', 'sky', 'sea'], None),
        ([0, 1, 2], '', ['background', 'class 1', 'class 2'], None),
        ([1, 2], '', ['class 1', 'class 2'], {1: 0, 2: 1}),
        ([0, 7], '', ['background', 'class 7'], {0: 0, 7: 1}),
        ([0, 255], '', ['background', 'foreground'], {0: 0, 255: 1}),
        ([0, 255], 'polyp', ['background', 'polyp'], {0: 0, 255: 1}),
        ([3], '', ['class 3'], {3: 0}),
    ],
)
def test_indices(
    tmp_path: Path, labels: list[int], names: str, classes: list[str], values: dict | None
) -> None:
    if names:
        write(tmp_path / 'classes.txt', names)
    found = make(tmp_path, labels)
    assert (found.classes, found.values) == (classes, values)
    assert [len(samples) for samples in found.splits.values()] == [4, 1]


@pytest.mark.parametrize(
    ('file', 'text'),
    [
        ('palette.txt', 'sky 128 128 128\nroad 128 64 128\nlane 192 0 128\n'),
        ('palette.txt', '128, 128, 128, sky\r\n128, 64, 128, road\r\n192, 0, 128, lane\r\n'),
        ('class_dict.csv', 'name,r,g,b\nsky,128,128,128\nroad,128,64,128\nlane,192,0,128\n'),
        (
            'labelmap.txt',
            '# label:color_rgb:parts:actions\nsky:128,128,128::\nroad:128,64,128::\n'
            'lane:192,0,128::\n',
        ),
        ('colors.txt', '#808080 sky\n#804080 road\n#C00080 lane\n'),
    ],
)
@pytest.mark.parametrize('mode', ['RGB', 'RGBA', 'P'])
def test_colors(tmp_path: Path, file: str, text: str, mode: str) -> None:
    write(tmp_path / file, text)
    found = make(tmp_path, [2, 0], palette=CAMVID, mode=mode)
    assert found.classes == ['sky', 'road', 'lane']
    assert found.palette == CAMVID
    assert found.colored
    assert {one.labels for one in found.splits['train']} == {frozenset({0, 2})}


def test_names_and_colors_in_two_files(tmp_path: Path) -> None:
    write(tmp_path / 'classes.txt', '0: sky\n1: road\n2: lane\n')
    write(tmp_path / 'palette.txt', '128 128 128\n128 64 128\n192 0 128\n')
    assert make(tmp_path, [0, 1], palette=CAMVID).classes == ['sky', 'road', 'lane']
    write(tmp_path / 'classes.txt', 'sky\nroad\n')
    with pytest.raises(UserError, match='2 names of classes, but 3 colors'):
        find_data('segment', tmp_path)


def test_colors_that_no_file_tells(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r'the label maps have colors, and no file .* palette.txt'):
        make(tmp_path, [0, 1], palette=CAMVID)
    write(tmp_path / 'palette.txt', 'sky 128 128 128\nroad 0 0 0')
    found = find_data('segment', tmp_path)
    assert any('not in the palette are ignored: #804080' in note for note in found.notes)


def test_gray_values_in_three_channels(tmp_path: Path) -> None:
    found = make(tmp_path, [0, 1], palette=[(0, 0, 0), (255, 255, 255)])
    assert (found.classes, found.values) == (['background', 'foreground'], {0: 0, 255: 1})


@pytest.mark.parametrize(
    ('labels', 'names', 'told'),
    [
        ([0, 3], 'a\nb\n', 'have 2 labels, up to 3, and there are 2 names of classes'),
        ([255], '', 'have 0 labels, up to none, and there are no names'),
    ],
)
def test_labels_that_cannot_be_classes(
    tmp_path: Path, labels: list[int], names: str, told: str
) -> None:
    if names:
        write(tmp_path / 'classes.txt', names)
    with pytest.raises(UserError, match=told):
        make(tmp_path, labels)


def test_more_labels_than_there_may_be(tmp_path: Path) -> None:
    make(tmp_path, [0, 1])
    Image.fromarray(np.arange(256, dtype=np.uint8)[None]).save(tmp_path / 'masks/0.png')
    with pytest.raises(UserError, match='have 255 labels, up to 254, and there are no names'):
        find_data('segment', tmp_path)


def test_faults(tmp_path: Path) -> None:
    make(tmp_path, [0, 1])
    label_map(tmp_path / 'masks/5.jpg', [0, 1])
    picture(tmp_path / 'images/5.jpg')
    with pytest.raises(UserError, match=r'5.jpg is a JPEG file, which changes labels'):
        find_data('segment', tmp_path)
    (tmp_path / 'masks/4.png').write_bytes(b'nothing')
    picture(tmp_path / 'images/3.jpg', size=(50, 30))
    found = find_data('segment', tmp_path, skip=True)
    assert sum(map(len, found.splits.values())) == 3
    assert any('4.png cannot be read as a label map' in one for one in found.left_out)
    assert any('has 50 x 30 pixels, but its annotation says 40 x 30' in o for o in found.left_out)


def test_names_that_do_not_fit(tmp_path: Path) -> None:
    picture(tmp_path / 'images/a.jpg')
    label_map(tmp_path / 'masks/b.png', [0, 1])
    with pytest.raises(UserError, match=r'masks/b.png needs an image of the same name in images/'):
        find_data('segment', tmp_path)
