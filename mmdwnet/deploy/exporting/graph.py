"""What all exported models have in common."""

from collections.abc import Mapping
from typing import Any

from torch import nn

from .inputs import Inputs


class Graph(nn.Module):
    """A model as a function from images to predictions.

    Args:
        model: The model.
        inputs: What is done to the images first.

    Attributes:
        task: 'classify', 'detect' or 'segment'.
        outputs: The names of what `forward` returns.
        threshold: Of the probabilities of masks, or of the only class of a segmentor, if any.
    """

    task: str
    outputs: tuple[str, ...]
    threshold: float | None = None

    def __init__(self, model: nn.Module, inputs: Inputs) -> None:
        super().__init__()
        self.model: Any = model
        self.inputs = inputs

    def describe(self, meta: Mapping[str, Any]) -> dict[str, Any]:
        """Describe the graph as plain data, for programs that run it.

        Args:
            meta: Classes and palette of the data set.

        Returns:
            What tools/deploy/predict_onnx.py has to know, besides the steps that images take.
        """
        palette = meta.get('palette')
        return dict(
            task=self.task,
            classes=list(meta.get('classes') or []),
            palette=None if isinstance(palette, str) else palette,
            rgb=self.inputs.rgb,
            normalize=self.inputs.normalize,
            mean=self.inputs.mean.flatten().tolist(),
            std=self.inputs.std.flatten().tolist(),
            outputs=list(self.outputs),
            threshold=self.threshold,
        )
