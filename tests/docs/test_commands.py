"""Every command in the texts exists and takes the options that it is given."""

import argparse
import os
import re
import runpy
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from .snippets import ROOT, TEXTS, Snippet, commands, inline_commands, snippets

SHELL = [*snippets('bash'), *inline_commands()]
# What comes from elsewhere.
FOREIGN = {'apt-get', 'ln', 'source', 'tensorboard', 'wandb'}
FOLDERS = ('.ci', 'configs', 'demo', 'docs', 'requirements', 'tests', 'tools')
# Which command has the options of a script, after how many words of its own.
SCRIPTS = {
    'tools/dist_train.sh': ('tools/train.py', lambda words: [words[0], *words[2:]]),
    'tools/dist_test.sh': ('tools/test.py', lambda words: [*words[:2], *words[3:]]),
    'tools/slurm_train.sh': (
        'tools/train.py',
        lambda words: [words[2], *(['--work-dir'] if words[3:] else []), *words[3:]],
    ),
    'tools/slurm_test.sh': ('tools/test.py', lambda words: words[2:]),
}


class ParsedError(Exception):
    """Ends a command that has read its options."""


def parse(script: str, words: list[str], patch: pytest.MonkeyPatch) -> None:
    """Have a command read its options; SystemExit if it does not know them."""
    parse_args = argparse.ArgumentParser.parse_args

    def stop(parser: argparse.ArgumentParser, *args: object) -> None:
        parse_args(parser, *args)
        raise ParsedError

    patch.setattr(argparse.ArgumentParser, 'parse_args', stop)
    patch.setattr(sys, 'argv', [script, *words])
    patch.syspath_prepend((ROOT / script).parent)
    patch.chdir(ROOT)  # as some change it themselves
    with pytest.raises(ParsedError):
        runpy.run_path(str(ROOT / script), run_name='__main__')


def check(words: list[str], patch: pytest.MonkeyPatch) -> None:
    while re.match(r'[A-Z_]+=', words[0]):
        words = words[1:]
    for word in words:
        if word.split('/')[0] in FOLDERS and ' ' not in word and '/' in word:
            assert list(ROOT.glob(word)), word
    program, *words = words
    if re.fullmatch(r'tools/.*\.py', program):
        program, words = 'python', [program, *words]
    if program in SCRIPTS:
        assert os.access(ROOT / program, os.X_OK)
        script, options = SCRIPTS[program]
        parse(script, options(words), patch)
    elif re.fullmatch(r'(.*/)?python3?', program):
        check_python(words, patch)
    elif program == 'make':
        subprocess.run(['make', '--dry-run', *words], cwd=ROOT, check=True, capture_output=True)
    elif program.endswith('pip'):
        check_pip(words)
    elif program == 'sbatch':
        check(words[words.index('--wrap') + 1].split(), patch)
    else:
        assert program in FOREIGN


def check_python(words: list[str], patch: pytest.MonkeyPatch) -> None:
    if words[0] != '-m':
        parse(words[0], words[1:], patch)
        return
    assert find_spec(words[1])
    scripts = [number for number, word in enumerate(words) if word.endswith('.py')]
    if words[1] == 'torch.distributed.run':
        parse(words[scripts[0]], words[scripts[0] + 1 :], patch)


def check_pip(words: list[str]) -> None:
    assert words[0] == 'install'
    packaging = (ROOT / 'pyproject.toml').read_text()
    for word in words:
        for extra in re.findall(r'\w+', (re.match(r'\.\[(.*)\]', word) or ['', ''])[1]):
            assert re.search(rf'^{extra} = \{{ file', packaging, re.MULTILINE), extra


@pytest.mark.parametrize('block', SHELL, ids=str)
def test_commands_exist(block: Snippet) -> None:
    for words in commands(block):
        with pytest.MonkeyPatch.context() as patch:
            check(words, patch)


def test_an_unknown_option_is_found(capsys: pytest.CaptureFixture) -> None:
    with pytest.MonkeyPatch.context() as patch, pytest.raises(SystemExit):
        check(['tools/dist_train.sh', 'configs/cls/dwnet_tiny.py', '8', '--resumee'], patch)
    assert '--resumee' in capsys.readouterr().err


@pytest.mark.parametrize('path', TEXTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_files_that_the_prose_names_exist(path: Path) -> None:
    for name in re.findall(r'`((?:configs|demo|docs|tests|tools)/[\w./-]+)`', path.read_text()):
        assert (ROOT / name).exists(), name
