"""LabelMe's JSON files, one for each image."""

import json
from pathlib import Path

from mmdwnet.finetuning.found import Found, Object
from mmdwnet.finetuning.source import Source, numbers

from .files_of_images import read_files


def read(source: Source) -> Found | None:
    """Return the objects in LabelMe's files, or None if there are no such files."""

    def parse(path: Path, label_of: dict[str, int]) -> tuple | None:
        content = json.loads(source.read_text(path))
        if not isinstance(content, dict) or 'shapes' not in content:
            return None
        objects = []
        for shape in content['shapes']:
            kind = shape.get('shape_type') or 'polygon'
            if kind not in ('polygon', 'rectangle'):
                source.left_out[f'shapes of the type {kind!r}'] += 1
                continue
            label = label_of.setdefault(str(shape['label']), len(label_of))
            one = Object.outlined(
                label, [value for point in shape['points'] for value in numbers(point)]
            )
            objects.append(one if kind == 'polygon' else Object(label, one.box))
        names = [str(content.get('imagePath') or path.stem), path.stem]
        return names, [content.get('imageWidth'), content.get('imageHeight')], objects

    return read_files(source, 'LabelMe JSON', source.with_suffix('.json'), parse, {})
