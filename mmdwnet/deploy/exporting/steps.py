"""Preparation of images as plain data, for programs without OpenMMLab."""

from collections.abc import Iterable, Mapping
from typing import Any

from mmdwnet.errors import UserError

_UNSEEN = ('LoadImageFromFile', 'LoadAnnotations', 'PackInputs', 'PackDetInputs', 'PackSegInputs')
# What tools/deploy/predict_onnx.py can compute with Pillow, by backend and interpolation. OpenCV
# samples points, Pillow averages areas; only for the former is there something in Pillow, too.
_FILTERS = {
    ('cv2', 'bilinear'): 'points',
    ('pillow', 'bilinear'): 'bilinear',
    ('pillow', 'bicubic'): 'bicubic',
}


def read_steps(pipeline: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return what a test pipeline does to the size of images.

    Args:
        pipeline: The transforms in a config.

    Returns:
        A dict for each step that changes images. It has the key `resize` ('short' or 'long': that
        edge to `size`, an int; 'exact': to `size`, [h, w]; 'within': the largest size within
        `size`, [h, w], or turned by 90 degrees if `turn` is true) and `filter`; or `crop`, [h, w].

    Raises:
        UserError: A transform has no counterpart.
    """
    steps = []
    for transform in pipeline:
        kind = transform['type']
        kind = (kind if isinstance(kind, str) else kind.__name__).rpartition('.')[2]
        if kind == 'Resize' and transform.get('scale') is not None:
            w, h = _pair(transform['scale'])
            size: dict[str, Any] = dict(resize='exact', size=[h, w])
            if transform.get('keep_ratio', False):
                size = dict(resize='within', size=[min(h, w), max(h, w)], turn=True)
            steps.append(dict(**size, filter=_filter(transform)))
        elif kind == 'ResizeEdge' and transform.get('edge', 'short') in ('short', 'long'):
            edge = dict(resize=transform.get('edge', 'short'), size=transform['scale'])
            steps.append(dict(**edge, filter=_filter(transform)))
        elif kind == 'CenterCrop' and not transform.get('auto_pad') and 'crop_size' in transform:
            w, h = _pair(transform['crop_size'])
            steps.append(dict(crop=[h, w]))
        elif kind not in _UNSEEN:
            raise UserError(
                f'the test pipeline has {dict(transform)}, which tools/deploy/predict_onnx.py '
                'cannot do: use Resize by scale, ResizeEdge or CenterCrop'
            )
    return steps


def common_shape(steps: list[dict[str, Any]]) -> tuple[int, int]:
    """Return the height and width that all images have after steps of `read_steps`.

    Raises:
        UserError: They differ.
    """
    step = steps[-1] if steps else {}
    if 'crop' not in step and step.get('resize') != 'exact':
        raise UserError(
            'the test pipeline leaves images in different shapes: give the one to export for as '
            '--shape H W, or --dynamic for any'
        )
    h, w = step.get('crop') or step['size']
    return h, w


def at_shape(
    steps: list[dict[str, Any]], shape: tuple[int, int], color: list[int]
) -> list[dict[str, Any]]:
    """Change steps so that all images have the same shape.

    Args:
        steps: Steps of `read_steps`.
        shape: Height and width.
        color: Value of each channel to pad with.

    Returns:
        The steps. A crop becomes one of this shape, with the edges before it in proportion. Without
        a crop, images are resized as far as they fit into the shape, and padded.
    """
    crops = [step['crop'] for step in steps if 'crop' in step]
    if not crops:
        kind = next((step['filter'] for step in steps if 'resize' in step), 'points')
        if steps and all(step.get('resize') == 'exact' for step in steps):
            return [dict(resize='exact', size=[*shape], filter=kind)]
        within = dict(resize='within', size=[*shape], turn=False, filter=kind)
        return [within, dict(pad=[*shape], color=color)]
    ratio = max(new / old for new, old in zip(shape, crops[-1], strict=True))
    changed = []
    for step in steps:
        if 'crop' in step:
            changed.append(dict(crop=[*shape]))
        elif isinstance(step['size'], int):
            changed.append({**step, 'size': round(step['size'] * ratio)})
        else:
            changed.append({**step, 'size': [round(side * ratio) for side in step['size']]})
    return changed


def _pair(value: int | Iterable[int]) -> tuple[int, int]:
    first, second = (value, value) if isinstance(value, int) else value
    return first, second


def _filter(transform: Mapping[str, Any]) -> str:
    key = transform.get('backend', 'cv2'), transform.get('interpolation', 'bilinear')
    if key not in _FILTERS:
        raise UserError(
            f'the test pipeline resizes by {key[0]} with interpolation={key[1]!r}, which '
            f'tools/deploy/predict_onnx.py cannot do: choose one of {sorted(_FILTERS)}'
        )
    return _FILTERS[key]
