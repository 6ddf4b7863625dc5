"""The demo's report: a single, self-contained HTML file."""

import base64
from pathlib import Path

from matplotlib.figure import Figure

from .curves import draw_curves
from .pictures import draw_predictions
from .tasks import TASKS, TITLES, WORK_DIR

_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<title>mmdwnet: the demo's report</title>
<style>
body {{ font: 16px/1.5 system-ui, sans-serif; max-width: 75rem; margin: 2rem auto; }}
table {{ border-collapse: collapse; }}
th, td {{ padding: .3rem 1.2rem .3rem 0; text-align: right; border-bottom: 1px solid #ccc; }}
img {{ max-width: 100%; }}
</style>
</head>
<body>
<h1>A nano DWNet on digit scenes</h1>
<p>The classifier was trained from scratch; the detector (Cascade Mask R-CNN) and the segmentor
(UperNet) start from its backbone. Scores are percentages on the validation data, which contain
handwritten digits never seen in training.</p>
<table>
<tr>{titles}</tr>
<tr>{values}</tr>
</table>
<h2>Training</h2>
{curves}
{predictions}
</body>
</html>
"""


def write_report(results: dict[str, float]) -> Path:
    """Write `report.html`, and its pictures as PNG files, into the demo's work folder.

    Args:
        results: Scores in percent, and minutes, as in `results.json`.

    Returns:
        The file.
    """
    columns = {**TITLES, 'minutes': 'minutes'}
    page = _PAGE.format(
        titles=''.join(f'<th>{title}</th>' for title in columns.values()),
        values=''.join(f'<td>{results[key]:.1f}</td>' for key in columns),
        curves=_embed(draw_curves(), 'curves', 'loss and score curves'),
        predictions='\n'.join(
            f'<h2>Predictions: {task.name}</h2>\n'
            + _embed(draw_predictions(task), task.name, 'predictions and ground truth')
            for task in TASKS
        ),
    )
    path = WORK_DIR / 'report.html'
    path.write_text(page)
    return path


def _embed(figure: Figure, name: str, alt: str) -> str:
    """Save a figure as a PNG file and return it as an HTML image."""
    path = WORK_DIR / f'{name}.png'
    figure.savefig(path, dpi=110)
    data = base64.b64encode(path.read_bytes()).decode()
    return f'<img alt="{alt}" src="data:image/png;base64,{data}">'
