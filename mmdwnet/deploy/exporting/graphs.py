"""Models as functions from images to predictions, in operators that ONNX has."""

from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from torch import Tensor, nn

from mmdwnet.deploy.fusing import fuse, replace
from mmdwnet.errors import UserError

from .graph import Graph
from .inputs import Inputs
from .resampling import substitutes


class Classifier(Graph):
    """A classifier of mmpretrain: images to the scores of all classes, (N, classes).

    Args:
        model: The model.
        inputs: What is done to the images first.

    Raises:
        UserError: Its scores are not those of a softmax.
    """

    task = 'classify'
    outputs = ('scores',)

    def __init__(self, model: nn.Module, inputs: Inputs) -> None:
        from mmpretrain.models.heads import ClsHead

        super().__init__(model, inputs)
        own = getattr(type(self.model.head), '_get_predictions', None)
        if own is not ClsHead._get_predictions:
            raise UserError(
                f'{type(self.model.head).__name__} is not exported, only heads that choose one '
                'class by a softmax, such as LinearClsHead'
            )

    def forward(self, images: Tensor) -> Tensor:
        """Compute the scores of all classes."""
        return self.model.head(self.model.extract_feat(self.inputs(images))).softmax(1)


class Segmentor(Graph):
    """A segmentor of mmseg: images to the indices of the pixels' classes, (N, H, W).

    Args:
        model: The model.
        inputs: What is done to the images first.
        logits: Whether to return logits, (N, classes, H, W), instead.

    Raises:
        UserError: The segmentor moves a window over the image.
    """

    task = 'segment'

    def __init__(self, model: nn.Module, inputs: Inputs, logits: bool) -> None:
        super().__init__(model, inputs)
        if self.model.test_cfg.mode != 'whole':
            raise UserError(
                f'the segmentor has test_cfg.mode={self.model.test_cfg.mode!r}, which calls the '
                "network many times for an image: export it with mode='whole', which may score "
                'differently'
            )
        self.logits = logits
        self.threshold = self.model.decode_head.threshold
        self.outputs = ('logits',) if logits else ('map',)

    def forward(self, images: Tensor) -> Tensor:
        """Compute the class of each pixel, or logits."""
        h, w = images.shape[-2:]
        x = self.inputs(images)
        size = x.shape[-2:]
        logits = self.model.encode_decode(x, [dict(img_shape=size, pad_shape=size)])[..., :h, :w]
        if self.logits:
            return logits
        if logits.shape[1] > 1:
            return logits.argmax(1)
        return (logits.sigmoid() > self.threshold).long()[:, 0]


def make_graph(
    model: nn.Module, settings: Mapping[str, Any], normalize: bool = False, logits: bool = False
) -> Graph:
    """Make the graph of a model; the model is not changed.

    The BNs of its DWNet are folded. Modules that cannot be exported are replaced by equal ones.

    Args:
        model: A classifier of mmpretrain, detector of mmdet or segmentor of mmseg, on the CPU.
        settings: Its `data_preprocessor` in the config.
        normalize: Whether the graph takes uint8 and normalizes it.
        logits: Whether a segmentor returns logits.

    Returns:
        The graph, in evaluation mode.

    Raises:
        UserError: The model cannot be a graph.
    """
    inputs = Inputs(settings, normalize)
    libraries = {base.__module__.partition('.')[0] for base in type(model).__mro__}
    library = next(iter(libraries & {'mmpretrain', 'mmdet', 'mmseg'}), None)
    if library is None:
        raise UserError(
            f'{type(model).__name__} is not exported: only classifiers of mmpretrain, detectors of '
            'mmdet and segmentors of mmseg are'
        )
    model = replace(model.eval(), substitutes(model.modules()))
    with suppress(UserError):  # it has no DWNet, or one whose norms cannot be folded
        fuse(model, inplace=True)
    if library == 'mmdet':
        from .detectors import make_detector  # imports mmdet

        graph = make_detector(model, inputs)
    else:
        graph = (
            Segmentor(model, inputs, logits) if library == 'mmseg' else Classifier(model, inputs)
        )
    return graph.eval().requires_grad_(False)
