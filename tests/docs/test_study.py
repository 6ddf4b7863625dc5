"""The page of the study: its figures are those of the logs that it links."""

import json
import re
from statistics import mean, stdev

import pytest

from .snippets import ROOT

PAGE = (ROOT / 'docs' / 'study.md').read_text()
LINK = re.compile(r'\[([\d.]+)\]\((study/[^)]+)\)')
ROWS = re.findall(r'^\| (\w+) \|.*\| (.+?) ± (.+?) \| (\[.+) \|$', PAGE, re.MULTILINE)


def top1(log: str) -> float:
    *_, last = (ROOT / 'docs' / log).read_text().splitlines()
    return json.loads(last)['accuracy/top1']


@pytest.mark.parametrize(('score', 'log'), LINK.findall(PAGE))
def test_scores_are_those_of_the_logs(score: str, log: str) -> None:
    assert score == f'{top1(log):.2f}'


@pytest.mark.parametrize('row', ROWS, ids=lambda row: row[0])
def test_means_are_those_of_the_seeds(row: tuple[str, str, str, str]) -> None:
    name, average, deviation, seeds = row
    logs = [log for _, log in LINK.findall(seeds)]
    assert logs == [f'study/{name}/seed{seed}.json' for seed in range(3)]
    scores = [top1(log) for log in logs]
    assert (average, deviation) == (f'{mean(scores):.2f}', f'{stdev(scores):.2f}')


def test_all_configs_are_in_the_table() -> None:
    assert {row[0] for row in ROWS} == {path.stem for path in ROOT.glob('configs/study/*.py')}
