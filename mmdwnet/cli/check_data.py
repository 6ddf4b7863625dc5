"""Read all data of a config; list what is wrong with them, and how much there is of each class."""

import argparse
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from mmengine.config import Config
from mmengine.registry import DATASETS, DefaultScope
from mmengine.utils import ProgressBar
from torch.utils.data import DataLoader, Dataset

from mmdwnet.datasets.samples import Guarded, leaves
from mmdwnet.errors import UserError

from .checks import check_data
from .command import add_cfg_options, read_config, require, run_command
from .data import known_classes, with_checks

SPLITS = ('train', 'val', 'test')


def main(argv: Sequence[str] | None = None) -> int:
    """Check data as the command line says; return 0, 1 if something is wrong, or 2 on bad input."""
    args, problems = parse_args(argv), []
    return run_command(lambda args: problems.extend(check(args)), args) or int(bool(problems))


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line, by default the process's."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('config', help='config file')
    parser.add_argument(
        '--splits', nargs='+', choices=SPLITS, help='which data [all that the config has]'
    )
    parser.add_argument(
        '--workers', type=int, help='processes that read [num_workers of each data loader]'
    )
    add_cfg_options(parser)
    return parser.parse_args(argv)


def check(args: argparse.Namespace) -> list[str]:
    """Read the data and print what is found; return what is wrong.

    Raises:
        UserError: The input is bad, or the data are not there.
    """
    if args.workers is not None and args.workers < 0:
        raise UserError(f'--workers {args.workers}: give 0 or more')
    cfg = read_config(args)
    splits = args.splits or [one for one in SPLITS if cfg.get(f'{one}_dataloader') is not None]
    require(cfg, *(f'{split}_dataloader' for split in splits or SPLITS))
    check_data(cfg, *splits)
    problems: list[str] = []
    done: dict[str, dict] = {}
    with DefaultScope.overwrite_default_scope(cfg.default_scope):
        for split in splits:
            dataset = cfg[f'{split}_dataloader'].dataset
            same = [other for other, given in done.items() if given == dataset]
            done[split] = dataset
            if same:
                print(f'{split}: the same data as {same[0]}')
                continue
            problems += _check_split(cfg, split, args.workers)
    return problems


def _check_split(cfg: Config, split: str, workers: int | None) -> list[str]:
    given = cfg[f'{split}_dataloader']
    if workers is None:
        workers = given.get('num_workers', 0)
    dataset = DATASETS.build(with_checks(given.dataset, skip=True))
    if hasattr(dataset, 'full_init'):
        dataset.full_init()
    problems: list[str] = []
    found: dict[str, Counter[int]] = {}
    parts = leaves(dataset)
    bar = ProgressBar(sum(map(len, parts)))
    for part in parts:
        # What is wrong with annotations is known; here the rest of their images is checked.
        problems += getattr(part, 'loading_faults', [])
        part.annotation_faults = {}
        for faults, counts in _survey(part, known_classes(cfg), workers):
            problems += [fault for _, fault in faults]
            for what, counter in counts.items():
                found.setdefault(what, Counter()).update(counter)
            bar.update()
    print(f'\n{split}: {sum(map(len, parts))} samples, {len(problems)} problem(s)')
    print(*(f'  {problem}\n' for problem in problems), sep='', end='')
    _print_classes(getattr(dataset, 'metainfo', {}).get('classes'), found)
    return problems


def _survey(
    dataset: Any, classes: int, workers: int
) -> Iterator[tuple[list[tuple[int, str]], dict[str, Counter[int]]]]:
    loader = DataLoader(_Survey(dataset, classes), 16, num_workers=workers, collate_fn=list)
    for batch in loader:
        yield from batch


class _Survey(Dataset):
    """The faults of each sample of a data set, and how much there is of each class in it."""

    def __init__(self, dataset: Any, classes: int) -> None:
        self.samples = Guarded(dataset, classes=classes, note=self._note)

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> tuple[list[tuple[int, str]], dict[str, Counter[int]]]:
        self.counts: dict[str, Counter[int]] = {}
        _, faults = self.samples[index]
        return faults, {} if faults else self.counts

    def _note(self, results: dict) -> None:
        if 'gt_seg_map' in results:
            labels, pixels = np.unique(results['gt_seg_map'], return_counts=True)
            counts = Counter(dict(zip(labels.tolist(), pixels.tolist(), strict=True)))
            self.counts = {'images': Counter(counts.keys()), 'pixels': counts}
        elif 'instances' in results:
            counts = Counter(one['bbox_label'] for one in results['instances'])
            self.counts = {'images': Counter(counts.keys()), 'instances': counts}
        elif 'gt_label' in results:
            self.counts = {'images': Counter(np.atleast_1d(results['gt_label']).tolist())}


def _print_classes(classes: Sequence[str] | None, found: dict[str, Counter[int]]) -> None:
    labels = range(len(classes)) if classes else sorted(set().union(*found.values()))
    for label in labels:
        name = classes[label] if classes else label
        counts = ', '.join(f'{counter[label]} {what}' for what, counter in found.items())
        print(f'  {name}: {counts or "nothing"}')
