"""Draw the rooms of the package and their imports, as the table in CONTRIBUTING.md has them.

Writes docs/pictures/rooms.svg. An arrow leads from a room to one that it imports, unless others
lead there, too.
"""

import re
import sys
from pathlib import Path

import networkx as nx  # torch requires it

TABLE = Path('CONTRIBUTING.md')
PICTURE = Path('docs/pictures/rooms.svg')
WIDTH, HEIGHT, GAP, ROW = 124, 34, 20, 86
HEAD = """<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {0:.0f} {1}" width="{0:.0f}">
<style>
text {{ font: 14px sans-serif; text-anchor: middle; fill: #1a2530 }}
rect {{ fill: #e8eef7; stroke: #4a6785 }}
polyline {{ fill: none; stroke: #4a6785; stroke-width: 1.4; marker-end: url(#arrow) }}
</style>
<marker id="arrow" viewBox="0 0 8 8" refX="8" refY="4" markerWidth="8" markerHeight="8"
orient="auto"><path d="M0 0L8 4L0 8z" fill="#4a6785"/></marker>
<path d="M0 0H9999V9999H0z" fill="#fff"/>
"""


def main() -> int:
    """Return the exit code."""
    PICTURE.write_text(draw(read_rooms(TABLE.read_text())))
    return 0


def read_rooms(text: str) -> dict[str, set[str]]:
    """Return the rooms in the table of CONTRIBUTING.md, with those that each may import."""
    rows = re.findall(r'^\| `mmdwnet/(\w+)(?:\.py)?` \|[^|]*\|([^|]*)\|$', text, flags=re.MULTILINE)
    return {room: set(re.findall(r'`(\w+)`', imports)) for room, imports in rows}


def draw(rooms: dict[str, set[str]]) -> str:
    """Return an SVG with a box for each room, above all that it imports."""
    graph = nx.DiGraph()
    graph.add_nodes_from(rooms)
    graph.add_edges_from((room, other) for room in rooms for other in sorted(rooms[room]))
    rows = [list(row) for row in nx.topological_generations(graph.reverse())][::-1]
    at = {room: number for number, row in enumerate(rows) for room in row}
    paths = []
    for start, end in sorted(nx.transitive_reduction(graph).edges):
        # An arrow crosses each row in between at a place of its own, where no box is.
        places = [(start, end, row) for row in range(at[start] + 1, at[end])]
        for place in places:
            rows[place[2]].append(place)
            at[place] = place[2]
        paths.append([start, *places, end])
    x = _columns(rows, nx.Graph(pair for path in paths for pair in nx.utils.pairwise(path)))
    y = {place: row * ROW + GAP for place, row in at.items()}
    lines = []
    for path in paths:
        points = [f'{x[place]:.0f},{y[place] + dy}' for place in path for dy in (0, HEIGHT)]
        lines.append(f'<polyline points="{" ".join(points[1:-1])}"/>\n')
    for room in rooms:
        lines.append(
            f'<rect x="{x[room] - WIDTH / 2:.0f}" y="{y[room]}" width="{WIDTH}" '
            f'height="{HEIGHT}" rx="5"/>'
            f'<text x="{x[room]:.0f}" y="{y[room] + 22}">{room}</text>\n'
        )
    width = max(x.values()) + WIDTH / 2 + GAP
    height = (len(rows) - 1) * ROW + HEIGHT + 2 * GAP
    return HEAD.format(width, height) + ''.join(lines) + '</svg>\n'


def _columns(rows: list[list], neighbors: nx.Graph) -> dict:
    """Return where the middle of each place is, close to those of its neighbors."""
    x: dict = {}
    for _ in range(20):
        for row in [*rows, *rows[::-1]]:

            def wanted(place: object) -> float:
                known = [x[other] for other in neighbors.adj.get(place, ()) if other in x]
                return sum(known) / len(known) if known else x.get(place, 0.0)

            row.sort(key=wanted)
            widths = [WIDTH if isinstance(place, str) else 0 for place in row]
            aims = [wanted(place) for place in row]
            right = 0.0
            for n, (place, width) in enumerate(zip(row, widths, strict=True)):
                left = right + (GAP if n else 0)
                x[place] = left + width / 2
                right = left + width
            # Together, the row goes where its places would be on average.
            shift = sum(aims) / len(aims) - sum(x[place] for place in row) / len(row)
            for place in row:
                x[place] += shift
    left = min(x.values()) - WIDTH / 2 - GAP
    return {place: value - left for place, value in x.items()}


if __name__ == '__main__':
    sys.exit(main())
