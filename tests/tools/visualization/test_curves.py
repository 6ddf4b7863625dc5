import json
from collections.abc import Callable
from pathlib import Path

import curves
import pytest
from PIL import Image


def log(folder: Path, *entries: dict) -> Path:
    file = folder / 'vis_data' / 'scalars.json'
    file.parent.mkdir(parents=True)
    file.write_text(''.join(json.dumps(entry) + '\n' for entry in entries))
    return file


def train(step: int, **values: float) -> dict:
    return {'loss': 1 / step, 'base_lr': 0.1, 'iter': step, 'step': step, **values}


@pytest.fixture
def runs(tmp_path: Path) -> list[str]:
    """A run by epochs that was resumed, and one by iterations of tools/finetune.py."""
    first, second = tmp_path / 'first', tmp_path / 'second'
    log(first / '1', train(10), {'accuracy/top1': 50.0, 'step': 1}, train(20))
    resumed = log(first / '2', train(20, loss=0.3), {'accuracy/top1': 60.0, 'step': 2})
    resumed.write_text(resumed.read_text() + '{"loss": 0.')  # killed
    entries = [train(8), {'mIoU': 25.0, 'step': 10}, train(16, loss=float('nan'))]
    log(second / 'run' / '1', *entries)
    return [str(first), str(second)]


def drawn(page) -> dict[str, list[tuple[list, list]]]:
    """The lines of each panel."""
    return {
        axes.get_title(): [(list(line.get_xdata()), list(line.get_ydata())) for line in axes.lines]
        for axes in page.axes
        if axes.axison
    }


def test_a_panel_for_each_key_and_a_line_for_each_run(runs: list[str]):
    page = curves.page([*map(curves.read_run, runs)], ['loss', 'accuracy/top1', 'mIoU', 'base_lr'])
    assert drawn(page) == {
        'training loss': [([10, 20], [0.1, 0.3]), ([8], [0.125])],
        'top-1 accuracy, %': [([1, 2], [50.0, 60.0])],
        'mean IoU, %': [([10], [25.0])],
        'learning rate': [([10, 20], [0.1, 0.1]), ([8, 16], [0.1, 0.1])],
    }
    units = [axes.get_xlabel() for axes in page.axes if axes.axison]
    assert units == ['iteration', 'epoch', 'iteration', 'iteration']
    (legend,) = page.legends
    assert [text.get_text() for text in legend.texts] == runs


def test_command(runs: list[str], tmp_path: Path, capsys):
    out = tmp_path / 'new' / 'page.png'
    file = str(tmp_path / 'first' / '1' / 'vis_data' / 'scalars.json')
    assert curves.main([*runs, file, '--out', str(out)]) == 0
    assert capsys.readouterr().out.strip() == str(out)
    assert Image.open(out).size[0] > 1000  # three panels beside each other


def test_scores_are_in_percent(tmp_path: Path):
    file = log(tmp_path, train(1), {'coco/bbox_mAP': 0.5, 'step': 1})
    page = curves.page([curves.read_run(str(file))], ['coco/bbox_mAP'])
    assert drawn(page) == {'box AP, %': [([1], [50.0])]}


def test_bad_input(runs: list[str], tmp_path: Path, refusal: Callable):
    assert 'no log at nowhere' in refusal(curves.main, runs[0], 'nowhere')
    folder = tmp_path / 'folder.png'
    folder.mkdir()
    other = tmp_path / 'other.json'
    other.write_text('[]\n3\n{"a": 1}\n')
    assert 'has no scalars of mmengine' in refusal(curves.main, other)
    told = refusal(curves.main, *runs, '--keys', 'loss', 'loss_cls')
    assert told.startswith('no log has loss_cls: choose --keys from accuracy/top1, base_lr')
    assert 'pages are written as' in refusal(curves.main, *runs, '--out', tmp_path / 'a.doc')
    assert 'it is a folder' in refusal(curves.main, *runs, '--out', folder)
