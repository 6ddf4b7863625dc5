import cv2
import numpy as np
import pytest
import yaml

import mmdwnet  # noqa: F401  # before mmdet, which may need its operators
from demo.picture_sets.layouts import CLASSES

COUNTS = {'train': 18, 'val': 3}


@pytest.fixture(params=COUNTS)
def split(request):
    return request.param


@pytest.fixture
def coco(made, split):
    """The scenes as mmdet reads them from COCO's JSON."""
    from mmdet.datasets import CocoDataset

    dataset = CocoDataset(
        data_root=str(made / 'scenes/coco'),
        ann_file=f'annotations/instances_{split}.json',
        data_prefix={'img': f'{split}/'},
        metainfo={'classes': CLASSES},
        test_mode=True,
        pipeline=[
            {'type': 'mmdet.LoadImageFromFile'},
            {'type': 'mmdet.LoadAnnotations', 'with_bbox': True, 'with_mask': True},
        ],
    )
    assert len(dataset) == COUNTS[split]
    return list(dataset)


def _name(split, number):
    return f'{split}_{number:04d}'


def test_scenes_have_one_to_four_drawings_of_all_classes(coco, split):
    counts = {len(sample['gt_bboxes_labels']) for sample in coco}
    assert counts <= {1, 2, 3, 4}
    if split == 'train':
        assert len(counts) > 1
        assert {int(i) for s in coco for i in s['gt_bboxes_labels']} == set(range(len(CLASSES)))


def test_voc_and_coco_have_the_same_boxes(made, coco, split):
    from mmdet.datasets import VOCDataset

    voc = VOCDataset(
        data_root=str(made / 'scenes/voc'),
        data_prefix={'sub_data_root': ''},
        ann_file=f'ImageSets/Main/{split}.txt',
        img_subdir='JPEGImages',
        ann_subdir='Annotations',
        metainfo={'classes': CLASSES},
        test_mode=True,
        pipeline=[],
    )
    assert len(voc) == len(coco)
    for index, sample in enumerate(coco):
        instances = voc.get_data_info(index)['instances']
        assert [one['bbox_label'] for one in instances] == sample['gt_bboxes_labels'].tolist()
        boxes = np.array([one['bbox'] for one in instances])
        boxes[:, 2:] += 1  # VOC's last pixel belongs to the box
        np.testing.assert_array_equal(boxes, sample['gt_bboxes'].tensor.numpy())


def test_yolo_and_coco_have_the_same_boxes(made, coco, split):
    root = made / 'scenes/yolo'
    layout = yaml.safe_load((root / 'data.yaml').read_text())
    assert layout['names'] == dict(enumerate(CLASSES))
    images = sorted((root / layout[split]).iterdir())
    assert len(images) == len(coco)
    for image, sample in zip(images, coco, strict=True):
        lines = np.loadtxt(root / f'labels/{split}/{image.stem}.txt', ndmin=2)
        assert lines[:, 0].tolist() == sample['gt_bboxes_labels'].tolist()
        center, size = lines[:, 1:3] * 192, lines[:, 3:] * 192
        boxes = np.hstack([center - size / 2, center + size / 2])
        np.testing.assert_allclose(boxes, sample['gt_bboxes'].tensor.numpy(), atol=1e-3)


def test_label_maps_and_coco_have_the_same_masks(made, coco, split):
    from mmseg.datasets import BaseSegDataset

    classes = tuple((made / 'scenes/maps/classes.txt').read_text().splitlines())
    assert classes == ('background', *CLASSES)
    maps = BaseSegDataset(
        data_root=str(made / 'scenes/maps'),
        data_prefix={'img_path': f'images/{split}', 'seg_map_path': f'masks/{split}'},
        metainfo={'classes': classes, 'palette': [(0, 0, 0)] * len(classes)},
        pipeline=[
            {'type': 'mmseg.LoadImageFromFile'},
            {'type': 'mmseg.LoadAnnotations'},
        ],
    )
    assert len(maps) == len(coco)
    for there, sample in zip(maps, coco, strict=True):
        expected = np.zeros(sample['img'].shape[:2], np.uint8)
        for label, mask in zip(sample['gt_bboxes_labels'], sample['gt_masks'].masks, strict=True):
            assert not expected[mask > 0].any()  # visible parts share no pixel
            expected[mask > 0] = label + 1
        np.testing.assert_array_equal(there['gt_seg_map'], expected)
        np.testing.assert_array_equal(there['img'], sample['img'])


def test_drawings_stand_out_from_the_wallpaper(coco):
    for sample in coco:
        for mask in sample['gt_masks'].masks.astype(bool):
            inside = np.median(sample['img'][mask], axis=0)
            around = cv2.dilate(mask.astype(np.uint8), np.ones((9, 9))).astype(bool) & ~mask
            assert np.abs(inside - np.median(sample['img'][around], axis=0)).max() > 20
