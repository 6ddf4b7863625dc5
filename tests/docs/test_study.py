"""The page of the study: its table is that of the logs that it links."""

import json
import re
from statistics import mean, stdev

import pytest

from .snippets import ROOT

PAGE = (ROOT / 'docs' / 'study.md').read_text()
ROWS = re.findall(r'^\| (\w+_w.+?) \|.*\| (.+?) ± (.+?) \| (\[.+) \|$', PAGE, re.MULTILINE)


@pytest.mark.parametrize('row', ROWS, ids=lambda row: row[0])
def test_scores_are_those_of_the_logs(row: tuple[str, str, str, str]) -> None:
    name, average, deviation, seeds = row
    links = re.findall(r'\[([^]]+)\]\(([^)]+)\)', seeds)
    scores = []
    for seed, (score, log) in enumerate(links):
        assert log == f'study/{name}/seed{seed}.json'
        *_, last = (ROOT / 'docs' / log).read_text().splitlines()
        scores.append(json.loads(last)['accuracy/top1'])
        assert score == f'{scores[-1]:.2f}'
    assert (average, deviation) == (f'{mean(scores):.2f}', f'{stdev(scores):.2f}')


def test_all_configs_are_in_the_table() -> None:
    assert {row[0] for row in ROWS} == {path.stem for path in ROOT.glob('configs/study/*.py')}
