"""What the texts tell readers to type, and a folder in which it works."""

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ..apis.folders import make_work_dir

ROOT = Path(__file__).parents[2]
TEXTS = sorted([*ROOT.glob('*.md'), *(ROOT / 'docs').rglob('*.md')])
_BLOCK = re.compile(r'^```(\w+)\n(.*?)^```$', re.MULTILINE | re.DOTALL)
_INLINE = re.compile(r'`((?:python3? |pip |make |tools/)[^`\n]* [^`\n]*)`')


@dataclass(frozen=True)
class Snippet:
    """A fenced block of a text.

    Attributes:
        text: The file, relative to the checkout.
        line: Where the block is in it.
        code: What it says.
    """

    text: str
    line: int
    code: str

    def __str__(self) -> str:
        return f'{self.text}:{self.line}'

    @property
    def file(self) -> str | None:
        """The file that the reader is to save it in, which its first line names."""
        found = re.match(r'# (\w+\.py)\n', self.code)
        return found and found[1]


def snippets(language: str) -> Iterator[Snippet]:
    """The blocks in a language, in the order of the texts."""
    for path in TEXTS:
        text = path.read_text()
        for block in _BLOCK.finditer(text):
            if block[1] == language:
                line = text.count('\n', 0, block.start()) + 2
                yield Snippet(str(path.relative_to(ROOT)), line, block[2])


def inline_commands() -> Iterator[Snippet]:
    """The commands in the sentences of the texts."""
    for path in TEXTS:
        for number, line in enumerate(path.read_text().splitlines(), 1):
            for found in _INLINE.finditer(line):
                yield Snippet(str(path.relative_to(ROOT)), number, found[1])


def commands(snippet: Snippet) -> Iterator[list[str]]:
    """The commands of a block, as words."""
    for line in snippet.code.replace('\\\n', ' ').splitlines():
        if words := shlex.split(line, comments=True):
            yield words


def make_checkout(folder: Path, *tasks: str) -> Path:
    """Make a folder like a checkout in which the demo's models for some tasks have been trained."""
    for path in ROOT.iterdir():
        if path.name not in ('data', 'work_dirs') and not path.name.startswith('.'):
            (folder / path.name).symlink_to(path)
    (folder / 'data').mkdir()
    demo = folder / 'work_dirs' / 'demo'
    demo.mkdir(parents=True)
    for task in tasks:
        run = demo / task / 'run'
        trained = make_work_dir(demo, task, work_dir=str(run))
        run.mkdir()
        for checkpoint in trained.glob('*.pth'):
            checkpoint.rename(run / checkpoint.name)
    return folder
