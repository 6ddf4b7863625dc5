"""Predict with a model that tools/deploy/export_onnx.py wrote: print a line for each image.

This file needs onnxruntime or openvino, numpy and Pillow alone: copy it to where the model goes.
"""

import argparse
import json
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageColor, ImageDraw, ImageOps

SUFFIXES = ('.jpg', '.jpeg', '.png', '.ppm', '.bmp', '.pgm', '.tif', '.tiff', '.webp')
KEY = 'mmdwnet'  # of the description in a model's metadata
FILTERS = {'bilinear': Image.Resampling.BILINEAR, 'bicubic': Image.Resampling.BICUBIC}


class Mistake(Exception):  # noqa: N818
    """A mistake in the input, told in one sentence."""


class Model:
    """An exported model.

    Args:
        path: The file.
        engine: 'onnxruntime' or 'openvino'.

    Attributes:
        about: Its description: task, classes, steps of the preparation and more.

    Raises:
        Mistake: The engine is not installed, or the file is not such a model.
    """

    def __init__(self, path: str, engine: str = 'onnxruntime') -> None:
        if not Path(path).is_file():
            raise Mistake(f'there is no model {path}: name a file of tools/deploy/export_onnx.py')
        try:
            self._run, text = _ENGINES[engine](path)
        except ImportError as error:
            raise Mistake(f'{engine} is not installed: pip install {engine}') from error
        except Exception as error:  # each engine has its own
            reason = str(error).strip().partition('\n')[0]
            raise Mistake(f'{engine} cannot read {path} ({reason}): export it again') from error
        if text is None:
            raise Mistake(
                f'{path} does not say how images are prepared: name a file of '
                'tools/deploy/export_onnx.py'
            )
        self.about: dict[str, Any] = json.loads(text)

    def __call__(self, image: Image.Image, score_thr: float = 0.3) -> 'Result':
        """Predict for an image; objects have scores above `score_thr`."""
        image = upright(image)
        array, scale = prepare(image, self.about)
        return Result(image, self.run(array), scale, self.about, score_thr)

    def run(self, array: np.ndarray) -> dict[str, np.ndarray]:
        """Compute the outputs, by name, for what `prepare` returned."""
        shape = self.about['shape']
        if shape is not None and list(array.shape[2:]) != shape:
            raise Mistake(
                f'the model is for images of {shape[0]} x {shape[1]} pixels, and this one has '
                f'{array.shape[2]} x {array.shape[3]}: export it with --dynamic'
            )
        return dict(zip(self.about['outputs'], self._run(array), strict=True))


def upright(image: Image.Image) -> Image.Image:
    """Return an image in RGB, turned as its EXIF data say."""
    return ImageOps.exif_transpose(image).convert('RGB')


def prepare(image: Image.Image, about: dict[str, Any]) -> tuple[np.ndarray, tuple[float, float]]:
    """Prepare an RGB image as the model's test pipeline does.

    Returns:
        The array for the model, (1, 3, H, W), and by how much the image was scaled in width and
        height.
    """
    width, height = image.size
    scale = (1.0, 1.0)
    for step in about['steps']:
        w, h = image.size
        if 'resize' in step:
            image = _resize(image, _size(w, h, step), step['filter'])
            scale = (image.width / width, image.height / height)
        elif 'crop' in step:
            left, top = (
                max(0, round((old - new) / 2))
                for old, new in zip((w, h), step['crop'][::-1], strict=True)
            )
            right, bottom = min(w, left + step['crop'][1]), min(h, top + step['crop'][0])
            image = image.crop((left, top, right, bottom))
        else:
            padded = Image.new('RGB', (step['pad'][1], step['pad'][0]), tuple(step['color']))
            padded.paste(image)
            image = padded
    array = np.asarray(image)[..., :: 1 if about['rgb'] else -1].transpose(2, 0, 1)[None]
    if not about['normalize']:
        mean, std = (np.array(about[key], np.float32)[:, None, None] for key in ('mean', 'std'))
        array = (array.astype(np.float32) - mean) / std
    return np.ascontiguousarray(array), scale


def _size(w: int, h: int, step: dict[str, Any]) -> tuple[int, int]:
    """Return the width and height of an image after a step that resizes it."""
    how, size = step['resize'], step['size']
    if how == 'exact':
        return size[1], size[0]
    if how == 'within':
        sides = (min(h, w), max(h, w)) if step['turn'] else (h, w)
        ratio = min(new / old for new, old in zip(size, sides, strict=True))
        return int(w * ratio + 0.5), int(h * ratio + 0.5)
    return (size, int(size * h / w)) if (w < h) == (how == 'short') else (int(size * w / h), size)


def _resize(image: Image.Image, size: tuple[int, int], kind: str) -> Image.Image:
    if size == image.size:
        return image
    if kind in FILTERS:
        return image.resize(size, FILTERS[kind])
    # Sampled at points between pixels, as OpenCV does it.
    x, y = image.width / size[0], image.height / size[1]
    affine = Image.Transform.AFFINE
    return image.transform(size, affine, (x, 0, 0, 0, y, 0), Image.Resampling.BILINEAR)


class Result:
    """What a model predicts for an image.

    Args:
        image: The image.
        outputs: The outputs of the model, by name.
        scale: By how much the image was scaled in width and height.
        about: The description of the model.
        score_thr: Objects have higher scores.
    """

    def __init__(
        self,
        image: Image.Image,
        outputs: dict[str, np.ndarray],
        scale: tuple[float, float],
        about: dict[str, Any],
        score_thr: float,
    ) -> None:
        self.image, self.about = image, about
        if about['task'] == 'classify':
            self.scores = outputs['scores'][0]
        elif about['task'] == 'detect':
            kept = outputs['scores'] > score_thr
            self.scores = outputs['scores'][kept]
            self.labels = outputs['labels'][kept]
            self.boxes = outputs['boxes'][kept] / np.array([*scale, *scale], np.float32)
            self.grids = outputs['masks'][kept] if 'masks' in outputs else None
        else:
            self.map = self._to_image(outputs, scale)

    def masks(self) -> np.ndarray:
        """Return the masks of the objects, (objects, H, W), bool."""
        assert self.grids is not None
        size = self.image.size
        threshold = self.about['threshold']
        masks = [
            paste(grid, box, size) >= threshold
            for grid, box in zip(self.grids, self.boxes, strict=True)
        ]
        return np.array(masks, bool).reshape(-1, size[1], size[0])

    def fields(self) -> dict[str, Any]:
        """Return the prediction as JSON has it; masks are run lengths as in COCO."""
        task = self.about['task']
        if task == 'classify':
            label, score = self._best()
            return dict(label=label, score=score, scores=self.scores.tolist())
        if task == 'segment':
            regions = [
                dict(label=self._name(index), share=share, mask=runs(self.map == index))
                for index, share in self._shares()
            ]
            return dict(regions=regions)
        objects = [
            dict(label=self._name(label), score=score, box=box)
            for label, score, box in zip(
                self.labels.tolist(), self.scores.tolist(), self.boxes.tolist(), strict=True
            )
        ]
        if self.grids is not None:
            for found, mask in zip(objects, self.masks(), strict=True):
                found['mask'] = runs(mask)
        return dict(objects=objects)

    def __str__(self) -> str:
        task = self.about['task']
        if task == 'classify':
            label, score = self._best()
            return f'{label} {score:.2f}'
        if task == 'segment':
            shares = [(index, share) for index, share in self._shares() if share >= 0.005]
            return ', '.join(f'{self._name(index)} {share:.0%}' for index, share in shares)
        counts = Counter(map(self._name, self.labels.tolist())).items()
        return ', '.join(f'{count} {label}' for label, count in counts) or 'nothing'

    def draw(self) -> Image.Image:
        """Draw the prediction into the image."""
        drawn = self.image.copy()
        task = self.about['task']
        if task == 'classify':
            _write(drawn, (0, 0), str(self), (0, 0, 0))
            return drawn
        if task == 'segment':
            palette = [self._color(index) for index in range(int(self.map.max()) + 1)]
            return Image.blend(drawn, Image.fromarray(np.array(palette, np.uint8)[self.map]), 0.5)
        labels = self.labels.tolist()
        if self.grids is not None:
            for mask, label in zip(self.masks(), labels, strict=True):
                tint = Image.new('RGB', drawn.size, self._color(label))
                drawn.paste(tint, mask=Image.fromarray(mask.astype(np.uint8) * 128))
        for label, score, box in zip(labels, self.scores, self.boxes.tolist(), strict=True):
            ImageDraw.Draw(drawn).rectangle(box, outline=self._color(label), width=2)
            text = f'{self._name(label)} {score:.2f}'
            _write(drawn, (box[0], box[1]), text, self._color(label))
        return drawn

    def _best(self) -> tuple[str, float]:
        best = int(self.scores.argmax())
        return self._name(best), float(self.scores[best])

    def _shares(self) -> list[tuple[int, float]]:
        """Return the index of each class that is there and its share of the pixels, most first."""
        counts = Counter(self.map.ravel().tolist())
        return [(index, n / self.map.size) for index, n in counts.most_common()]

    def _name(self, index: int) -> str:
        names = self.about['classes']
        return names[index] if index < len(names) else str(index)

    def _color(self, index: int) -> tuple[int, ...]:
        palette = self.about['palette'] or []
        if index < len(palette):
            return tuple(palette[index])
        return ImageColor.getrgb(f'hsl({index * 222 % 360}, 80%, 45%)')  # neighbors differ much

    def _to_image(self, outputs: dict[str, np.ndarray], scale: tuple[float, float]) -> np.ndarray:
        """Return the classes of the image's own pixels, (H, W)."""
        w, h = self.image.size
        shown = (slice(0, int(h * scale[1] + 0.5)), slice(0, int(w * scale[0] + 0.5)))
        if 'map' in outputs:
            found = outputs['map'][0][shown].astype(np.int32)
            resized = Image.fromarray(found).resize((w, h), Image.Resampling.NEAREST)
            return np.asarray(resized, np.int64)
        logits = [
            np.asarray(_resize(Image.fromarray(plane[shown]), (w, h), 'points'))
            for plane in outputs['logits'][0]
        ]
        if len(logits) == 1:
            return (1 / (1 + np.exp(-logits[0])) > self.about['threshold']).astype(np.int64)
        return np.stack(logits).argmax(0)


def paste(grid: np.ndarray, box: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Interpolate a mask over its box at the pixels of an image.

    Args:
        grid: (h, w), probabilities.
        box: (4,), x1, y1, x2, y2 in pixels.
        size: Width and height of the image.

    Returns:
        (H, W), probabilities, 0 outside.
    """
    x1, y1, x2, y2 = box
    h, w = grid.shape
    rows = _weights((np.arange(size[1]) + 0.5 - y1) / max(y2 - y1, 1e-6) * h - 0.5, h)
    columns = _weights((np.arange(size[0]) + 0.5 - x1) / max(x2 - x1, 1e-6) * w - 0.5, w)
    return rows @ grid @ columns.T


def _weights(places: np.ndarray, count: int) -> np.ndarray:
    """Return the weights of linear interpolation at places between 0 and count - 1."""
    return np.maximum(0, 1 - np.abs(places[:, None] - np.arange(count))).astype(np.float32)


def runs(mask: np.ndarray) -> dict[str, Any]:
    """Return the lengths of runs of 0 and 1 in a mask, (H, W), column by column, as COCO does."""
    flat = mask.ravel(order='F')
    ends = np.flatnonzero(np.diff(flat)) + 1
    edges = [*([0] if flat[0] else []), *ends.tolist(), flat.size]
    return dict(size=list(mask.shape), counts=np.diff([0, *edges]).tolist())


def _write(image: Image.Image, place: tuple[float, float], text: str, color: Any) -> None:
    """Write a text in white on a color, within the image."""
    draw = ImageDraw.Draw(image)
    right, bottom = draw.textbbox((0, 0), text)[2:]
    x = max(0, min(place[0], image.width - right - 4))
    y = max(0, min(place[1] - bottom - 2, image.height - bottom - 2))
    draw.rectangle((x, y, x + right + 4, y + bottom + 2), fill=color)
    draw.text((x + 2, y), text, fill=(255, 255, 255))


def _onnxruntime(path: str) -> tuple[Callable[[np.ndarray], Sequence[np.ndarray]], str | None]:
    import onnxruntime

    session = onnxruntime.InferenceSession(path, providers=['CPUExecutionProvider'])
    text = session.get_modelmeta().custom_metadata_map.get(KEY)
    return lambda array: session.run(None, {'images': array}), text


def _openvino(path: str) -> tuple[Callable[[np.ndarray], Sequence[np.ndarray]], str | None]:
    import openvino

    model = openvino.Core().read_model(path)
    key = ['framework', KEY]
    text = model.get_rt_info(key).astype(str) if model.has_rt_info(key) else None
    compiled = openvino.Core().compile_model(model, 'CPU')
    return lambda array: list(compiled(array).values()), text


_ENGINES = {'onnxruntime': _onnxruntime, 'openvino': _openvino}


def find_images(paths: Sequence[str]) -> list[Path]:
    """Return the images that are named, or lie in named folders or below."""
    found = []
    for path in map(Path, paths):
        inside = sorted(file for file in path.rglob('*') if file.suffix.lower() in SUFFIXES)
        if path.is_dir() and not inside:
            raise Mistake(f'there are no images in {path}: name another folder')
        if not path.exists():
            raise Mistake(f'there is no image {path}: name a file or folder')
        found += inside if path.is_dir() else [path]
    return found


def main(argv: Sequence[str] | None = None) -> int:
    """Predict as the command line says; return 0, or 2 on bad input."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('model', help='.onnx file of tools/deploy/export_onnx.py')
    parser.add_argument('images', nargs='+', help='files and folders of images')
    parser.add_argument('--engine', choices=sorted(_ENGINES), default='onnxruntime')
    parser.add_argument(
        '--score-thr', type=float, default=0.3, help='lowest score of objects [0.3]'
    )
    parser.add_argument('--out', help='folder to draw predictions into')
    parser.add_argument('--json', action='store_true', help='print a JSON object for each image')
    args = parser.parse_args(argv)
    try:
        images = find_images(args.images)
        model = Model(args.model, args.engine)
        for number, path in enumerate(images):
            try:
                with Image.open(path) as image:
                    image.load()
            except OSError as error:
                raise Mistake(f'{path} cannot be read as an image: {error}') from error
            result = model(image, args.score_thr)
            if args.json:
                line = json.dumps(dict(path=str(path), **result.fields()), ensure_ascii=False)
            else:
                line = f'{path}: {result}'
            print(line, flush=True)
            if args.out is not None:
                folder = Path(args.out)
                folder.mkdir(parents=True, exist_ok=True)
                result.draw().save(folder / f'{number}_{path.stem}.png')
    except Mistake as mistake:
        print(mistake, file=sys.stderr)
        return 2
    return 0


if __name__ == '__main__':
    sys.exit(main())
