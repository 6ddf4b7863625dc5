"""The methods that mmdet and mmseg ship configs of, with DWNet in place of their backbone."""

from collections.abc import Iterator
from pathlib import Path

import mmdet
import mmseg
import torch
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.structures import InstanceData, PixelData

from .steps import SIZE, sample

LIBRARIES = {library.__name__: Path(library.__path__[0], '.mim') for library in (mmdet, mmseg)}

# As wide as ResNet-50, so that no other key of a config has to change.
BACKBONE = dict(type='DWNet', arch=dict(embed_dims=256, depths=(1, 1, 1, 1)), mlp_ratio=1)


# What cannot be built as it is shipped, with any backbone.
BROKEN = {
    'cascade_rpn/cascade-rpn_r50-caffe_fpn_1x_coco.py': 'its RPN lacks num_classes',
    'sort/faster-rcnn_r50_fpn_8xb2-4e_mot17train_test-mot17train.py': 'its base is not there',
    'sort/faster-rcnn_r50_fpn_8xb2-8e_mot20train_test-mot20train.py': 'its base is not there',
}


def methods() -> Iterator[tuple[str, str]]:
    """Yield library and config of each folder with configs of ResNet-50: the plainest one."""
    for library, root in LIBRARIES.items():
        for folder in sorted(root.glob('configs/[!_]*/')):
            names = {f'{folder.name}/{path.name}' for path in folder.glob('*r50*.py')} - set(BROKEN)
            if names:
                yield library, max(names, key=lambda name: (-len(name), name))


def put_dwnet_in(config: Config) -> None:
    """Replace the backbones, at the levels that they give, and load no weights."""
    found = [part for part in _dicts(config.model) if 'depth' not in part]
    for part in found:
        for key in ('backbone', 'backbone_cfg'):  # BiSeNetV1 is a backbone with another in it
            if 'depth' in part.get(key, {}):
                levels = part[key].get('out_indices', (0, 1, 2, 3))
                part[key] = dict(BACKBONE, out_indices=levels)
        if (part.get('init_cfg') or {}).get('type') == 'Pretrained':
            part['init_cfg'] = None
        for key in {'pretrained', 'teacher_ckpt'} & part.keys():
            part[key] = None


def lighten(config: Config) -> None:
    """Reduce the cost of a step on small images without removing a layer."""
    config.model.data_preprocessor.pop('batch_augments', None)
    if config.default_scope == 'mmseg':
        config.model.data_preprocessor.size = (SIZE, SIZE)
    for part in _dicts(config.model):
        for key, most in dict(max_per_img=100, num=32).items():  # regions
            if isinstance(part.get(key), int):
                part[key] = min(part[key], most)
        if part.get('num_queries', 0) > 100:
            part['num_queries'] = 60  # DINO takes as many positions, and small maps have few
        # On the CPU, mmdet cannot paste masks of boxes outside the image, which networks that have
        # learned nothing predict.
        if 'clip_border' in part:
            part['clip_border'] = True


def batch(config: Config, training: bool) -> dict:
    """Return random images, or videos, with ground truth, as the config's pipeline does.

    There are two to train, but one to predict, as in upstream's configs.
    """
    from mmdet.structures import ReIDDataSample
    from mmdet.testing import demo_track_inputs

    kind = config.model.data_preprocessor.type
    if kind == 'TrackDataPreprocessor':
        frames = dict(num_frames=2, key_frames_inds=[0]) if training else dict(num_frames=1)
        return demo_track_inputs(image_shapes=(3, SIZE, SIZE), with_mask=True, **frames)
    if kind == 'ReIDDataPreprocessor':
        people = [ReIDDataSample().set_gt_label(label) for label in (0, 0, 1, 1)]
        return dict(inputs=torch.rand(4, 3, 256, 128), data_samples=people)
    images = [_image(config, seed) for seed in ((3, 4) if training else (3,))]
    if kind == 'MultiBranchDataPreprocessor' and training:
        branches = ('sup', 'unsup_teacher', 'unsup_student')
        images = [
            {key: dict.fromkeys(branches, value) for key, value in image.items()}
            for image in images
        ]
    return pseudo_collate(images)


def _image(config: Config, seed: int) -> dict:
    image = sample(config.default_scope, with_mask=True, seed=seed)
    truth = image['data_samples']
    if config.default_scope == 'mmseg':
        classes = min(part['num_classes'] for part in _dicts(config.model) if 'num_classes' in part)
        truth.gt_sem_seg.data %= classes
        return image
    steps = config.get('train_pipeline') or []
    scale = next((step.scale_factor for step in steps if step.type == 'SegRescale'), 1)
    labels = torch.zeros(1, int(SIZE * scale), int(SIZE * scale), dtype=torch.long)
    truth.set_metainfo(dict(homography_matrix=torch.eye(3).numpy()))
    truth.gt_sem_seg = PixelData(sem_seg=labels)
    truth.gt_instances.labels[:] = 0
    if 'rpn_head' not in config.model:
        truth.proposals = InstanceData(bboxes=truth.gt_instances.bboxes.tensor + 2)
    return image


def _dicts(value: object) -> Iterator[dict]:
    if isinstance(value, dict):
        yield value
        value = list(value.values())
    if isinstance(value, (list, tuple)):
        for each in value:
            yield from _dicts(each)
