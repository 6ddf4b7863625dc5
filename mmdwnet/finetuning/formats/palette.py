"""Files with the names of the classes of label maps, their colors, or both."""

import re

from mmdwnet.errors import UserError
from mmdwnet.finetuning.source import Source

_FILES = re.compile(
    r'(.*palette.*|classes|class_(names|dict)|labels|label_?map|(label_)?colou?rs)\.(txt|csv)', re.I
)
_COLOR = re.compile(
    r'(?<![\d.])(\d{1,3})[\s,;]+(\d{1,3})[\s,;]+(\d{1,3})(?![\d.])|#([\da-f]{6})', re.I
)
_NUMBER = re.compile(r'^\s*\d+\s*[:,;\s]\s*(?=\S)')  # which some files have before each name


def read_palette(source: Source) -> tuple[list[str], list[tuple[int, int, int]]]:
    """Return the names of classes and their colors; nothing where no file has them.

    A line has the name of a class, its color as three numbers or as #RRGGBB, or both, and names and
    colors can be in two files. Lines without a color in a file of colors are its header.

    Raises:
        UserError: The files do not fit together.
    """
    names: list[str] = []
    colors: list[tuple[int, int, int]] = []
    for path in filter(lambda path: _FILES.fullmatch(path.name), source.files):
        lines = [line for line in source.read_text(path).splitlines() if line.strip()]
        found = [match for line in lines if (match := _COLOR.search(line))]
        if found:
            lines = [match.string.replace(match[0], ' ') for match in found]
            parts = [
                bytes.fromhex(one[4]) if one[4] else map(int, one.groups()[:3]) for one in found
            ]
            colors = [(red, green, blue) for red, green, blue in parts]
        here = [_NUMBER.sub('', line).strip(' \t,;:"') for line in lines]
        names = here if all(here) else names
    uneven = names and colors and len(names) != len(colors)
    if uneven or max(map(max, colors), default=0) > 255:
        raise UserError(
            f'the files below {source.root} have {len(names)} names of classes, but {len(colors)} '
            'colors, or one of more than 255: put name and color of each class into palette.txt'
        )
    return names or [f'class {label}' for label in range(len(colors))], colors
