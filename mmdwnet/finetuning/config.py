"""The config of a training, as a text for people to read and edit."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, StrictUndefined

from .found import Found
from .settings import Settings

METRICS = {'classify': 'accuracy/top1', 'detect': 'coco/bbox_mAP', 'segment': 'mIoU'}
_PACK = {'classify': 'PackInputs', 'detect': 'PackDetInputs', 'segment': 'PackSegInputs'}
_WIDTH = 100  # characters in a line


@dataclass(frozen=True)
class Start:
    """What a training starts from.

    Attributes:
        told: A sentence about it.
        backbone: Checkpoint with weights for the backbone.
        model: Checkpoint with weights for the whole model.
        reason: Why released weights could not be loaded.
    """

    told: str
    backbone: str | None = None
    model: str | None = None
    reason: str = ''

    @property
    def pretrained(self) -> bool:
        """Return whether there are weights."""
        return bool(self.backbone or self.model)


class Name(str):
    """A name in a config, which is written without quotes."""


def config_text(
    base: str,
    found: Found,
    settings: Settings,
    datasets: dict[str, dict],
    start: Start,
    skip: bool = False,
) -> str:
    """Return the text of a config.

    Args:
        base: Path of the model's config, absolute or from the folder of the new one.
        found: The data.
        settings: The numbers.
        datasets: The config of each split's data set, without a pipeline.
        start: What the training starts from.
        skip: Whether images that cannot be read are skipped.
    """
    sets = {
        split: {**dataset, 'metainfo': Name('metainfo'), 'pipeline': Name(f'{kind}_pipeline')}
        for split, dataset in datasets.items()
        for kind in ('train' if split == 'train' else 'test',)
    }
    if found.task == 'detect':
        sets['train']['filter_cfg'] = dict(filter_empty_gt=True)
    counts = ', '.join(f'{len(found.splits[split])} {split}' for split in datasets)
    environment = Environment(
        variable_start_string='${',
        variable_end_string='}',
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        undefined=StrictUndefined,
    )
    environment.filters['code'] = code
    text = Path(__file__).with_name('config.py.jinja').read_text()
    return environment.from_string(text).render(
        title=f'To {found.task}: {len(found.classes)} classes; images: {counts} ({found.format}).',
        task=found.task,
        base=base,
        bad_data='skip' if skip else 'stop',
        settings=settings,
        metainfo=datasets['train']['metainfo'],
        masks=found.masks,
        start=start,
        pack=_PACK[found.task],
        train=sets['train'],
        val=sets['val'],
        test=sets.get('test'),
        metric=METRICS[found.task],
    )


def code(value: Any, column: int = 0, indent: int = 0) -> str:
    """Return a value as formatted code.

    Args:
        value: Of dicts, lists, tuples and literals.
        column: Where its code begins in the line.
        indent: By how much the line is indented.
    """
    if isinstance(value, Name):
        return str(value)
    if isinstance(value, dict) and all(str(key).isidentifier() for key in value):
        start, end = 'dict(', ')'
        items = [(f'{key}=', item) for key, item in value.items()]
    elif isinstance(value, list | tuple):
        start, end = '[]' if isinstance(value, list) else '()'
        items = [('', item) for item in value]
    else:
        return repr(value)
    flat = ', '.join(f'{name}{code(item, -(10**9))}' for name, item in items)
    flat += ',' if isinstance(value, tuple) and len(value) == 1 else ''
    if indent + column + len(start + flat + end) < _WIDTH:
        return f'{start}{flat}{end}'
    inner = indent + 4
    lines = [f'{" " * inner}{name}{code(item, len(name), inner)},\n' for name, item in items]
    return f'{start}\n{"".join(lines)}{" " * indent}{end}'
