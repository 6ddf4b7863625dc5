"""Which room of the package imports which: the table in CONTRIBUTING.md, read and held."""

import ast
import re
from pathlib import Path

import pytest
from rooms import PICTURE, TABLE, draw, read_rooms

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / 'mmdwnet'
EVERYWHERE = {'errors', 'version'}


def table() -> dict[str, set[str]]:
    """The rooms that each room may import."""
    return read_rooms((ROOT / TABLE).read_text())


def room(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix('.py')


def imported(path: Path) -> set[str]:
    """The rooms that a file imports, wherever in it."""
    package = ['mmdwnet', *path.relative_to(PACKAGE).parts[:-1]]
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            module = '.'.join([*base, *filter(None, [node.module])])
            names = [f'{module}.{alias.name}' for alias in node.names]
        else:
            continue
        found |= {name.split('.')[1] for name in names if re.match(r'mmdwnet\.\w', name)}
    return found


FILES = sorted(PACKAGE.rglob('*.py'))


@pytest.mark.parametrize('path', FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_keep_to_the_table(path: Path) -> None:
    if path == PACKAGE / '__init__.py':
        return  # it loads names when they are asked for
    allowed = {room(path)} | EVERYWHERE | table().get(room(path), set())
    assert imported(path) <= allowed


def test_every_room_is_in_the_table() -> None:
    assert {room(path) for path in FILES} - {'__init__', *EVERYWHERE} == set(table())


def test_the_table_has_no_circles() -> None:
    left = table()
    while left:
        free = {name for name, imports in left.items() if not imports & set(left)}
        assert free, f'these import each other: {sorted(left)}'
        left = {name: imports for name, imports in left.items() if name not in free}


def test_the_picture_is_of_the_table() -> None:
    assert (ROOT / PICTURE).read_text() == draw(table()), 'run tools/analysis_tools/rooms.py'


def test_the_package_stays_small() -> None:
    assert sum(len(path.read_text().splitlines()) for path in FILES) <= 16310
