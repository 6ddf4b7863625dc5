import cv2
import numpy as np
import pytest
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO

import mmdwnet  # noqa: F401  # before mmdet, which may need its operators
from demo.digit_scenes import CLASSES, PALETTE, SEG_CLASSES
from demo.digit_scenes.digits import labels

ADE = 'ade/ADEChallengeData2016'


@pytest.fixture(scope='module', params=['train', 'val'])
def split(request):
    return request.param


def _coco(made, split):
    return COCO(str(made / f'coco/annotations/instances_{split}2017.json'))


def _ade_name(split, number):
    part = {'train': 'training', 'val': 'validation'}[split]
    return f'{part}/ADE_{split}_{number:08d}'


def test_no_digit_is_in_both_splits(made):
    seen = {}
    for split in ('train', 'val'):
        single = {int(p.stem[:4]) for p in (made / 'imagenet' / split).glob('*/*.jpg')}
        seen[split] = single, {a['digit'] for a in _coco(made, split).anns.values()}
    train, val = (set.union(*seen[split]) for split in ('train', 'val'))
    assert not train & val
    assert len(seen['train'][0]) == 144
    assert len(seen['val'][0]) == 36


def test_folders_are_the_digits_own_classes(made, options, split):
    folders = sorted(p.name for p in (made / 'imagenet' / split).iterdir())
    assert folders == list('0123456789')
    pictures = list((made / 'imagenet' / split).glob('*/*.jpg'))
    assert len(pictures) == {'train': 144, 'val': 2 * 36}[split]
    for picture in pictures:
        assert int(picture.parent.name) == labels()[int(picture.stem[:4])]
    assert cv2.imread(str(pictures[0])).shape == (32, 32, 3)


def test_coco_boxes_are_tight_and_classes_are_the_digits_own(made, options, split):
    coco = _coco(made, split)
    assert [c['name'] for c in coco.loadCats(coco.getCatIds())] == list(CLASSES)
    assert len(coco.imgs) == {'train': options.train_scenes, 'val': options.val_scenes}[split]
    for annotation in coco.anns.values():
        mask = coco.annToMask(annotation)
        ys, xs = np.nonzero(mask)
        box = [xs.min(), ys.min(), np.ptp(xs) + 1, np.ptp(ys) + 1]
        assert annotation['bbox'] == box
        assert annotation['area'] == len(ys)
        assert annotation['iscrowd'] == 0
        assert annotation['category_id'] == labels()[annotation['digit']] + 1


def test_image_and_annotation_ids_are_unique(made):
    train, val = _coco(made, 'train'), _coco(made, 'val')
    assert not train.imgs.keys() & val.imgs.keys()
    assert len(train.anns) == len(train.dataset['annotations'])


def test_label_maps_agree_with_instances(made, split):
    coco = _coco(made, split)
    for number, image_id in enumerate(sorted(coco.imgs), start=1):
        name = _ade_name(split, number)
        label_map = cv2.imread(str(made / ADE / f'annotations/{name}.png'), cv2.IMREAD_UNCHANGED)
        expected = np.ones_like(label_map)
        for annotation in coco.imgToAnns[image_id]:
            mask = coco_mask.decode(coco.annToRLE(annotation)).astype(bool)
            assert (expected[mask] == 1).all()  # visible parts share no pixel
            expected[mask] = 2 + labels()[annotation['digit']]
        np.testing.assert_array_equal(label_map, expected)
        same = made / f'coco/{split}2017' / coco.imgs[image_id]['file_name']
        assert (made / ADE / f'images/{name}.jpg').read_bytes() == same.read_bytes()


def test_mmpretrain_reads_the_imagenet_tree(made, split):
    from mmpretrain.datasets import CustomDataset, ImageNet

    pipeline = [{'type': 'mmpretrain.LoadImageFromFile'}]
    for dataset in (
        ImageNet(
            data_root=str(made / 'imagenet'),
            split=split,
            metainfo={'classes': CLASSES},
            pipeline=pipeline,
        ),
        CustomDataset(
            data_root=str(made / 'imagenet'), data_prefix=split, metainfo={'classes': CLASSES}
        ),
    ):
        assert len(dataset) == {'train': 144, 'val': 72}[split]
        assert tuple(dataset.metainfo['classes']) == CLASSES
        for i in range(0, len(dataset), 7):
            info = dataset.get_data_info(i)
            digit = int(info['img_path'].rsplit('/', 1)[1][:4])
            assert info['gt_label'] == labels()[digit]


def test_mmdet_reads_the_instances(made, options, split):
    from mmdet.datasets import CocoDataset

    dataset = CocoDataset(
        data_root=str(made / 'coco'),
        ann_file=f'annotations/instances_{split}2017.json',
        data_prefix={'img': f'{split}2017/'},
        metainfo={'classes': CLASSES, 'palette': PALETTE[1:]},
        filter_cfg={'filter_empty_gt': True, 'min_size': 16},
        pipeline=[
            {'type': 'mmdet.LoadImageFromFile'},
            {'type': 'mmdet.LoadAnnotations', 'with_bbox': True, 'with_mask': True},
        ],
    )
    coco = _coco(made, split)
    assert len(dataset) == len(coco.imgs)
    sample = dataset[1]
    annotations = coco.imgToAnns[sample['img_id']]
    assert sample['img'].shape == (options.scene_size, options.scene_size, 3)
    assert sample['gt_bboxes_labels'].tolist() == [labels()[a['digit']] for a in annotations]
    expected = np.stack([coco.annToMask(a) for a in annotations])
    np.testing.assert_array_equal(sample['gt_masks'].masks, expected)
    boxes = [[x, y, x + w, y + h] for x, y, w, h in (a['bbox'] for a in annotations)]
    np.testing.assert_array_equal(sample['gt_bboxes'].tensor.numpy(), boxes)


def test_mmseg_reads_the_label_maps(made, split):
    from mmseg.datasets import BaseSegDataset

    part = {'train': 'training', 'val': 'validation'}[split]
    dataset = BaseSegDataset(
        data_root=str(made / ADE),
        data_prefix={'img_path': f'images/{part}', 'seg_map_path': f'annotations/{part}'},
        metainfo={'classes': SEG_CLASSES, 'palette': PALETTE},
        reduce_zero_label=True,
        pipeline=[
            {'type': 'mmseg.LoadImageFromFile'},
            {'type': 'mmseg.LoadAnnotations'},
        ],
    )
    coco = _coco(made, split)
    assert len(dataset) == len(coco.imgs)
    seen = set()
    for sample in dataset:
        assert sample['gt_seg_map'].shape == sample['img'].shape[:2]
        seen |= set(np.unique(sample['gt_seg_map']).tolist())
    # The ground is 0 and digit d is d + 1; nothing is ignored (255).
    assert seen == {0} | {labels()[a['digit']] + 1 for a in coco.anns.values()}
