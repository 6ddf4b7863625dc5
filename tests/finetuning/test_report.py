import json
import re
import shlex
from collections.abc import Callable, Sequence
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mmengine.config import Config
from mmengine.structures import BaseDataElement

from mmdwnet.finetuning.found import Found, Object, Sample
from mmdwnet.finetuning.report import write_report

from .samples import classified, detected, outcomes, segmented, write_image

CLASSES = ('cat', 'dog')
BOX = (4, 4, 24, 24)
EMPTY = {'area', 'base', 'br', 'col', 'hr', 'img', 'input', 'link', 'meta', 'path', 'use'}


class Page(HTMLParser):
    """What a browser makes of a page: tags, texts, and the cells of tables."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict]] = []
        self.texts: list[str] = []
        self.rows: list[list[str]] = []
        self.feed(text)
        self.close()
        assert not self.open  # all tags are closed, in order

    def handle_starttag(self, tag: str, attrs: list) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in EMPTY:
            self.open.append(tag)
        if tag == 'tr':
            self.rows.append([])
        if tag in ('td', 'th'):
            self.rows[-1].append('')

    def handle_startendtag(self, tag: str, attrs: list) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if 'style' in self.open:
            return
        self.texts.append(data.strip())
        if 'td' in self.open or 'th' in self.open:
            self.rows[-1][-1] += data.strip()

    @property
    def text(self) -> str:
        return re.sub(r'\s+', ' ', ' '.join(self.texts))


def config(work_dir: Path, **changes: Any) -> Config:
    text = dict(
        work_dir=str(work_dir),
        model=dict(backbone=dict(init_cfg=dict(type='Pretrained'))),
        default_hooks=dict(logger=dict(type='LoggerHook')),
        test_dataloader=dict(dataset=dict(pipeline=[dict(type='Resize', scale=(160, 160))])),
    )
    return Config(text | changes)


def found(task: str, classes: Sequence[str] = CLASSES, samples: Sequence[Sample] = ()) -> Found:
    """Data with many samples of each class, or the given ones."""
    many = [
        Sample(Path('x.png'), (64, 48), label, (Object(label, BOX),))
        for label in range(len(classes))
        for _ in range(30)
    ]
    return Found(task, 'class folders', list(classes), {'train': list(samples or many), 'val': []})


def log(work_dir: Path, *entries: dict, run: str = '20260101_000000') -> None:
    path = work_dir / run / 'vis_data' / 'scalars.json'
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(''.join(json.dumps(entry) + '\n' for entry in entries))


@pytest.fixture
def report(tmp_path: Path) -> Callable[..., Page]:
    """Writes the report of a test and reads it."""

    def write(
        samples: Sequence[BaseDataElement],
        classes: Sequence[str] = CLASSES,
        cfg: Config | None = None,
        data: Found | None = None,
        metrics: dict[str, float | None] | None = None,
    ) -> Page:
        file = tmp_path / 'outcomes.json'
        task = outcomes(file, samples, classes)['task']
        out = tmp_path / 'my out'
        path = write_report(
            out,
            cfg or config(tmp_path / 'run'),
            data or found(task, classes),
            '2 classes, 60 images.\nLeft out: <notes.txt>.',
            metrics or {},
            file,
        )
        assert path == out / 'report.html'
        return Page(path.read_text())

    return write


@pytest.fixture
def labels(tmp_path: Path) -> list[BaseDataElement]:
    """Two cats, of which one is taken for a dog, and a dog."""
    path = write_image(tmp_path, 'Süßes <b>Tier.png')
    scores = [(0, (0.9, 0.1)), (0, (0.2, 0.8)), (1, (0.3, 0.7))]
    return [classified(path, label, score) for label, score in scores]


def test_classification(report: Callable, labels: list, tmp_path: Path) -> None:
    page = report(labels, metrics={'accuracy/top1': 66.667})
    assert '66.7 % top-1 accuracy' in page.text
    assert '2 classes, 60 images. Left out: <notes.txt>.' in page.text
    assert ['cat', '1', '1'] in page.rows and ['dog', '', '1'] in page.rows  # the matrix
    assert page.rows[-3:] == [
        ['class', 'images', 'recall, %', 'precision, %'],
        ['cat', '2', '50.0', '100.0'],
        ['dog', '1', '100.0', '50.0'],
    ]
    assert page.text.index('dog 80 % is cat') < page.text.index('dog 70 %')  # the worst first


def test_detection(report: Callable, tmp_path: Path) -> None:
    path = write_image(tmp_path)
    samples = [
        detected(path, [(0, BOX)], [(0, BOX, 0.9)], masks=True),
        detected(path, [(0, BOX)], [], masks=True),
    ]
    metrics = {'coco/bbox_mAP': 0.512, 'coco/segm_mAP': 0.4, 'coco/bbox_mAP_s': -1.0}
    metrics |= {'coco/cat_precision': 0.4, 'coco/dog_precision': None}
    page = report(samples, metrics=metrics)
    assert '51.2 % box AP' in page.text and '40.0 % mask AP' in page.text
    assert ['cat', '1', '', '1'] in page.rows  # one found, one missed
    assert page.rows[-3:] == [
        ['class', 'objects', 'mask AP, %', 'recall, %', 'precision, %'],
        ['cat', '2', '40.0', '50.0', '100.0'],
        ['dog', '0', '-', '-', '-'],
    ]
    assert 'truth: cat prediction: nothing' in page.text


def test_segmentation(report: Callable, tmp_path: Path) -> None:
    sample = segmented(write_image(tmp_path, size=(4, 1)), [[0, 0, 0, 1]], [[0, 0, 1, 1]])
    page = report([sample], metrics={'mIoU': 58.3, 'aAcc': 75.0})
    assert '58.3 % mean IoU' in page.text and '75.0 % pixel accuracy' in page.text
    assert ['cat', '67', '33'] in page.rows
    assert page.rows[-2:] == [['dog', '1', '50.0', '100.0'], ['cat', '3', '66.7', '66.7']]


def test_needs_no_network_and_no_scripts(report: Callable, labels: list, tmp_path: Path) -> None:
    log(tmp_path / 'run', {'loss': 1.0, 'step': 1}, {'loss': 0.5, 'step': 2})
    page = report(labels)
    assert not {'script', 'link', 'iframe'} & {tag for tag, _ in page.tags}
    images = [attributes for tag, attributes in page.tags if tag == 'img']
    assert len(images) == 3
    for attributes in images:
        assert attributes['src'].startswith('data:image/jpeg;base64,')
        assert attributes['alt'] == 'Süßes <b>Tier.png'
    text = (tmp_path / 'my out/report.html').read_text()
    linked = re.findall(r'(?:href|src)="(?!#|data:)[^"]*"|url\((?!#)[^)]*\)|@import', text)
    assert linked == []


@pytest.mark.parametrize(
    'name', ['<script>alert(1)</script>', '"><img src=x>', '猫 & 狗', '{{ 7 * 7 }}']
)
def test_class_names_are_text(name: str, report: Callable, labels: list) -> None:
    page = report(labels, (name, 'dog'), metrics={'accuracy/top1': 1.0})
    assert 'script' not in {tag for tag, _ in page.tags}
    assert page.rows[-2][0] == name


def test_one_class(report: Callable, tmp_path: Path) -> None:
    page = report([detected(write_image(tmp_path), [(0, BOX)], [(0, BOX, 0.9)])], ('cat',))
    assert ['cat', '1', ''] in page.rows


def test_pairs_instead_of_a_large_matrix(report: Callable, tmp_path: Path) -> None:
    path, names = write_image(tmp_path), [f'class {number}' for number in range(40)]
    confused = [(3, 7)] * 5 + [(2, 1)] * 2 + [(number, number) for number in range(40)]
    samples = [classified(path, truth, np.eye(40)[label].tolist()) for truth, label in confused]
    page = report(samples, names)
    start = page.rows.index(['true', 'predicted', 'count', 'of the true class, %'])
    assert page.rows[start + 1 : start + 4] == [
        ['class 3', 'class 7', '5', '83.3'],
        ['class 2', 'class 1', '2', '66.7'],
        ['class', 'images', 'recall, %', 'precision, %'],
    ]


def test_curves_of_an_interrupted_training(report: Callable, labels: list, tmp_path: Path) -> None:
    """Later runs count, and half a line is no entry."""
    run = tmp_path / 'run'
    log(
        run,
        {'loss': 9.0, 'step': 1},
        {'loss': 777.0, 'step': 2},
        {'accuracy/top1': 30.0, 'step': 1},
    )
    with (run / '20260101_000000/vis_data/scalars.json').open('a') as file:
        file.write('{"loss": 555')
    log(run, {'loss': 5.0, 'step': 2}, {'accuracy/top1': 50.0, 'step': 2}, run='20260102_000000')
    whole = tmp_path / 'whole'
    log(whole, {'loss': 9.0, 'step': 1}, {'loss': 5.0, 'step': 2})
    log(whole, *({'accuracy/top1': 30.0 + 20 * i, 'step': 1 + i} for i in range(2)), run='2')
    page = report(labels, cfg=config(run))
    assert 'training loss' in page.text and 'top-1 accuracy, % ' in page.text
    assert [tag for tag, _ in page.tags].count('svg') == 2
    assert report(labels, cfg=config(whole)).text == page.text


def test_no_curves(report: Callable, labels: list, tmp_path: Path) -> None:
    assert 'svg' not in {tag for tag, _ in report(labels).tags}
    log(tmp_path / 'run', {'loss': 1.0, 'step': 1}, {'loss': float('nan'), 'step': 2})
    page = report(labels)
    assert [tag for tag, _ in page.tags].count('svg') == 1  # there was no validation


def test_same_bytes_each_time(report: Callable, labels: list, tmp_path: Path) -> None:
    log(tmp_path / 'run', {'loss': 1.0, 'step': 1}, {'accuracy/top1': 9.0, 'step': 1})
    report(labels)
    first = (tmp_path / 'my out/report.html').read_bytes()
    report(labels)
    assert (tmp_path / 'my out/report.html').read_bytes() == first


def test_commands_can_be_pasted(report: Callable, labels: list, tmp_path: Path) -> None:
    page = report(labels)
    line = next(line for text in page.texts for line in text.splitlines() if 'predict.py' in line)
    assert shlex.split(line)[2] == str(tmp_path / 'my out')
    code = next(text for text in page.texts if text.startswith('import mmdwnet'))
    compile(code, 'report', 'exec')


RISING = {'accuracy/top1': [10.0, 30.0, 50.0, 60.0, 70.0, 80.0]}
FALLING = {'accuracy/top1': [10.0, 70.0, 60.0, 60.0, 60.0, 60.0]}
LEVEL = {'accuracy/top1': [10.0, 60.0, 70.0, 70.1, 70.0, 70.1]}


@pytest.mark.parametrize(
    ('losses', 'scores', 'says'),
    [
        ([1.0], RISING, 'train for more epochs'),
        ([1.0], FALLING, 'best early and fell later'),
        ([0.01], LEVEL, 'only 70 % are right: add training images'),
        ([1.0], LEVEL, None),
        ([8.0, 4.0, 2.0, 1.0], {}, 'The loss was still falling'),
        ([1.0, 1.0, 1.0, 1.0], {}, None),
    ],
    ids=['rising', 'falling', 'by heart', 'level', 'loss', 'level loss'],
)
def test_advice_from_the_training(
    losses: list, scores: dict, says: str | None, report: Callable, labels: list, tmp_path: Path
) -> None:
    entries = [{'loss': loss, 'step': step} for step, loss in enumerate(losses, 1)]
    for name, values in scores.items():
        entries += [{name: value, 'step': step} for step, value in enumerate(values, 1)]
    log(tmp_path / 'run', *entries)
    right = labels[:1] * 9 + labels[2:]
    page = report(right)
    assert (says in page.text) if says else ('What to try next' not in page.text)


def test_advice_from_the_data(report: Callable, labels: list, tmp_path: Path) -> None:
    few = [Sample(Path('x.png'), (64, 48), label) for label in [0] * 30 + [1] * 3]
    page = report(labels, data=found('classify', samples=few))
    assert 'There are few training images of dog (3): add some.' in page.text
    assert 'weak on cat (50 % found)' in page.text
    scratch = config(tmp_path / 'run', model=dict(backbone=dict(type='DWNet')))
    assert 'began from random weights' in report(labels, cfg=scratch).text
    assert 'began from random weights' not in page.text


def test_advice_on_small_objects(report: Callable, tmp_path: Path) -> None:
    samples = [detected(write_image(tmp_path), [(0, BOX)], [(0, BOX, 0.9)])]
    # 20 pixels wide, in images that are made half as large.
    large = [Sample(Path('x.png'), (320, 200), objects=(Object(0, BOX), Object(1, BOX)))] * 20
    page = report(samples, data=found('detect', samples=large))
    assert '100 % of the objects have less than 16 x 16 pixels' in page.text
    assert 'larger --size' not in report(samples).text
