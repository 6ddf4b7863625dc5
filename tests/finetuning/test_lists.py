"""The lists, as the libraries' own data sets and the commands' checks read them."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mmengine.config import Config
from mmengine.registry import DATASETS, DefaultScope
from mmengine.utils import import_modules_from_strings
from PIL import Image

from mmdwnet.cli.check_data import check, parse_args
from mmdwnet.finetuning.discover import find_data
from mmdwnet.finetuning.found import Found
from mmdwnet.finetuning.lists import palette, write_lists

from .formats import test_coco, test_label_maps, test_labelme
from .making import HEIGHT, WIDTH, class_folders, picture, write

LIBRARIES = {'classify': 'mmpretrain', 'detect': 'mmdet', 'segment': 'mmseg'}
LOADING = {
    'classify': [dict(type='LoadImageFromFile')],
    'detect': [
        dict(type='LoadImageFromFile'),
        dict(type='LoadAnnotations', with_bbox=True, with_mask=True),
    ],
    'segment': [dict(type='LoadImageFromFile'), dict(type='LoadAnnotations')],
}


@pytest.fixture(autouse=True)
def _out_of_scope() -> Any:
    """mmengine keeps the last default scope of the process."""
    with DefaultScope.overwrite_default_scope(None):
        yield


def build(found: Found, configs: dict[str, dict]) -> dict[str, Any]:
    """The data sets, after the command that checks data found nothing wrong with them."""
    scope = LIBRARIES[found.task]
    import_modules_from_strings([scope, f'{scope}.datasets'])
    pipeline = [*LOADING[found.task]]
    if found.task == 'detect' and not found.masks:
        pipeline[1] = dict(type='LoadAnnotations', with_bbox=True)
    loaders = {
        f'{split}_dataloader': dict(dataset={**config, 'pipeline': pipeline}, num_workers=0)
        for split, config in configs.items()
    }
    path = Path(next(iter(configs.values()))['ann_file']).with_name('check.py')
    Config(dict(default_scope=scope, model=dict(), **loaders)).dump(path)
    assert check(parse_args([str(path)])) == []
    with DefaultScope.overwrite_default_scope(scope):
        return {
            split: DATASETS.build({**config, 'pipeline': pipeline})
            for split, config in configs.items()
        }


def test_lists_of_labels(tmp_path: Path) -> None:
    class_folders(tmp_path / 'data', **{'big cat': 4, 'été': 4})
    picture(tmp_path / 'data' / 'été' / ' x, y .png')
    found = find_data('classify', tmp_path / 'data')
    for split, dataset in build(found, write_lists(found, tmp_path / 'out')).items():
        assert list(dataset.metainfo['classes']) == ['big cat', 'été']
        loaded = [(Path(one['img_path']), one['gt_label']) for one in dataset]
        assert loaded == [(one.path, one.label) for one in found.splits[split]]
        assert [one['img'].shape[:2] for one in dataset] == [(HEIGHT, WIDTH)] * len(loaded)


@pytest.mark.parametrize(
    'outline', [None, test_coco.POLYGON, test_coco.rle(True), test_coco.rle(False)]
)
def test_lists_of_objects(tmp_path: Path, outline: Any) -> None:
    for number in range(1, 7):
        picture(tmp_path / 'data' / f'{number:012}.jpg')
    entries = [
        test_coco.annotation(number, number, 7 + number % 2 * 2, segmentation=outline)
        for number in range(5)
        if number
    ]
    test_coco.make(tmp_path / 'data/a.json', entries, 6)
    found = find_data('detect', tmp_path / 'data')
    assert found.masks == (outline is not None)
    for split, dataset in build(found, write_lists(found, tmp_path / 'out')).items():
        assert list(dataset.metainfo['classes']) == ['cat', 'dog']
        assert len(dataset) == len(found.splits[split])
        for loaded, sample in zip(dataset, found.splits[split], strict=True):
            assert Path(loaded['img_path']) == sample.path
            boxes = np.array([one.box for one in sample.objects]).reshape(-1, 4)
            assert np.array_equal(loaded['gt_bboxes'].tensor.numpy(), boxes)
            assert loaded['gt_bboxes_labels'].tolist() == [one.label for one in sample.objects]
            if outline and sample.objects:
                [mask] = loaded['gt_masks'].masks
                assert mask[4:14, 11].all() and not mask[:, 13:].any()


def test_objects_of_a_test_split_are_evaluated(tmp_path: Path) -> None:
    from mmdet.evaluation import CocoMetric

    for split in ('train', 'val', 'test'):
        picture(tmp_path / f'data/{split}/a.jpg')
        text = test_labelme._file('a', test_labelme.TRIANGLE)
        write(tmp_path / f'data/{split}/a.json', text)
    found = find_data('detect', tmp_path / 'data')
    configs = write_lists(found, tmp_path / 'out')
    assert list(configs) == ['train', 'val', 'test']
    dataset = build(found, configs)['test']
    metric = CocoMetric(ann_file=configs['test']['ann_file'], metric=['bbox', 'segm'])
    metric.dataset_meta = dataset.metainfo
    [loaded] = dataset
    perfect = dict(
        img_id=loaded['img_id'],
        bboxes=loaded['gt_bboxes'].tensor.numpy(),
        labels=loaded['gt_bboxes_labels'],
        scores=np.ones(1),
        masks=loaded['gt_masks'].masks.astype(bool),
    )
    import torch
    from mmengine.structures import InstanceData

    kept = {key: torch.as_tensor(value) for key, value in perfect.items() if key != 'img_id'}
    metric.process(
        {},
        [
            dict(
                img_id=perfect['img_id'],
                ori_shape=(HEIGHT, WIDTH),
                pred_instances=InstanceData(**kept),
            )
        ],
    )
    scores = metric.evaluate(1)
    assert scores['coco/bbox_mAP'] == pytest.approx(1)
    assert scores['coco/segm_mAP'] == pytest.approx(1)


def _maps(dataset: Any) -> dict[str, np.ndarray]:
    return {Path(one['img_path']).name: one['gt_seg_map'] for one in dataset}


def test_label_maps_are_used_where_they_are(tmp_path: Path) -> None:
    test_label_maps.make(tmp_path / 'data', [0, 1, 255])
    for name in (' x', 'é 1'):
        picture(tmp_path / f'data/images/{name}.jpg')
        test_label_maps.label_map(tmp_path / f'data/masks/{name}.png', [1, 0])
    found = find_data('segment', tmp_path / 'data')
    datasets = build(found, write_lists(found, tmp_path / 'out'))
    assert not (tmp_path / 'out/maps').exists()
    for split, dataset in datasets.items():
        assert [Path(one['img_path']) for one in dataset] == [
            one.path for one in found.splits[split]
        ]
        assert [Path(one['seg_map_path']) for one in dataset] == [
            one.map for one in found.splits[split]
        ]
        for loaded in dataset:
            assert np.array_equal(loaded['gt_seg_map'], Image.open(loaded['seg_map_path']))


@pytest.mark.parametrize('case', ['from 1', 'colors', 'names'])
def test_label_maps_are_converted_where_they_must_be(tmp_path: Path, case: str) -> None:
    if case == 'colors':
        write(tmp_path / 'data/palette.txt', 'sky 128 128 128\nroad 128 64 128\n')
        options = dict(palette=[*test_label_maps.CAMVID[:2], (1, 2, 3)])
        found = test_label_maps.make(tmp_path / 'data', [0, 2, 1], **options)
    else:
        found = test_label_maps.make(
            tmp_path / 'data', [1, 255, 2] if case == 'from 1' else [0, 255, 1]
        )
    if case == 'names':  # images of two suffixes, which no option of mmseg's describes
        picture(tmp_path / 'data/images/1.png')
        (tmp_path / 'data/images/1.jpg').unlink()
        found = find_data('segment', tmp_path / 'data')
    datasets = build(found, write_lists(found, tmp_path / 'out'))
    assert sum(map(len, datasets.values())) == 5
    for split, dataset in datasets.items():
        assert [Path(one['img_path']) for one in dataset] == [
            one.path for one in found.splits[split]
        ]
        for label_map in _maps(dataset).values():
            assert [label_map[row, 0] for row in (5, 15, 25)] == [0, 255, 1]


def test_outlines_are_drawn_as_label_maps(tmp_path: Path) -> None:
    picture(tmp_path / 'data/a b.jpg')
    for number in (1, 2):
        picture(tmp_path / f'data/{number:012}.jpg')
    large = [[0, 0, 40, 0, 40, 30, 0, 30]]
    entries = [
        test_coco.annotation(1, 1, segmentation=test_coco.POLYGON),
        test_coco.annotation(2, 1, 9, segmentation=large),
        test_coco.annotation(3, 2, 9, segmentation=test_coco.rle(True)),
    ]
    test_coco.make(tmp_path / 'data/a.json', entries, 2)
    found = find_data('segment', tmp_path / 'data')
    datasets = build(found, write_lists(found, tmp_path / 'out'))
    maps = {**_maps(datasets['train']), **_maps(datasets['val'])}
    first, second = (maps[f'{number:012}.jpg'] for number in (1, 2))
    # The small object lies on the large one.
    assert (first[5, 11], first[5, 20], first[29, 39]) == (1, 2, 2)
    assert (second[5, 11], second[5, 20]) == (2, 0)


@pytest.mark.parametrize('task', LIBRARIES)
def test_the_same_data_give_the_same_files(tmp_path: Path, task: str) -> None:
    if task == 'classify':
        class_folders(tmp_path / 'data', a=4, b=4)
    elif task == 'segment':
        test_label_maps.make(tmp_path / 'data', [1, 2])
    else:
        for number in (1, 2):
            picture(tmp_path / f'data/{number:012}.jpg')
        entries = [test_coco.annotation(number, number) for number in (1, 2)]
        test_coco.make(tmp_path / 'data/a.json', entries, 2)
    contents = []
    for _ in range(2):
        write_lists(find_data(task, tmp_path / 'data'), tmp_path / 'data/out')
        write(tmp_path / 'data/out/config.py', '')  # as of a run, which is not data
        files = [path for path in (tmp_path / 'data/out').rglob('*') if path.is_file()]
        contents.append({path: path.read_bytes() for path in files})
    assert contents[0] == contents[1]


def test_colors_of_classes_differ() -> None:
    found = Found('segment', '', ['background', *map(str, range(150))], {})
    assert palette(found)[0] == (0, 0, 0)
    assert len(set(palette(found))) == 151
