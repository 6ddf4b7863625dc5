"""Detectors of mmdet as functions from an image to its objects."""

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from mmdet.models.dense_heads import AnchorHead, RPNHead
from mmdet.models.dense_heads.base_dense_head import BaseDenseHead
from mmdet.models.detectors import SingleStageDetector, TwoStageDetector
from mmdet.models.roi_heads import BBoxHead, CascadeRoIHead, FCNMaskHead, StandardRoIHead
from mmdet.models.roi_heads.roi_extractors import SingleRoIExtractor
from mmdet.models.task_modules.coders import DeltaXYWHBBoxCoder
from torch import Tensor, nn

from mmdwnet.errors import UserError

from . import boxes
from .graph import Graph
from .inputs import Inputs


class OneStage(Graph):
    """A detector with anchors and one stage, such as RetinaNet."""

    task = 'detect'
    outputs = ('boxes', 'labels', 'scores')

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        """Find objects.

        Args:
            image: (1, 3, H, W).

        Returns:
            Boxes, (n, 4), x1, y1, x2, y2 in pixels; labels, (n,), int64; and scores, (n,).
        """
        head = self.model.bbox_head
        maps = self.model.extract_feat(self.inputs(image))
        levels = candidates(head, maps, image, head.test_cfg.score_thr)
        found, scores, labels = (torch.cat(part) for part in zip(*levels, strict=True))
        kept = boxes.suppress(found, scores, labels, head.test_cfg)
        return found[kept], labels[kept], scores[kept]


class TwoStage(Graph):
    """A Faster, Mask or Cascade (Mask) R-CNN.

    Args:
        model: The model.
        inputs: What is done to the images first.
    """

    task = 'detect'

    def __init__(self, model: nn.Module, inputs: Inputs) -> None:
        super().__init__(model, inputs)
        roi_head = self.model.roi_head
        self.outputs = OneStage.outputs
        self.box_stages = _stages(roi_head.bbox_roi_extractor, roi_head.bbox_head)
        self.mask_stages = []
        if roi_head.with_mask:
            self.outputs += ('masks',)
            self.threshold = roi_head.test_cfg.mask_thr_binary
            extractor = roi_head.mask_roi_extractor or roi_head.bbox_roi_extractor
            self.mask_stages = _stages(extractor, roi_head.mask_head)

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        """Find objects.

        Args:
            image: (1, 3, H, W).

        Returns:
            Boxes, (n, 4), x1, y1, x2, y2 in pixels; labels, (n,), int64; scores, (n,); and, if the
            detector has them, masks, (n, h, w), the probabilities of the object in the cells of a
            grid over its box.
        """
        maps = self.model.extract_feat(self.inputs(image))
        head = self.model.rpn_head
        levels = [
            (found, score, torch.full_like(label, level))
            for level, (found, score, label) in enumerate(candidates(head, maps, image, -1))
        ]
        proposals, scores, groups = (torch.cat(part) for part in zip(*levels, strict=True))
        proposals = proposals[boxes.suppress(proposals, scores, groups, head.test_cfg)]
        found, labels, scores = self._classify(maps, proposals, image)
        if not self.mask_stages:
            return found, labels, scores
        return found, labels, scores, self._masks(maps, found, labels)

    def _classify(
        self, maps: Sequence[Tensor], rois: Tensor, image: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Refine proposals, (n, 4), in each stage; return boxes, labels and scores of objects."""
        logits = []
        for stage, (extractor, head) in enumerate(self.box_stages):
            score, deltas = head(boxes.pool(extractor, maps, rois))
            deltas = deltas.unflatten(1, (-1, 4))  # of each class, or of all
            logits.append(score)
            if stage < len(self.box_stages) - 1:
                deltas = boxes.of_class(deltas, score[:, :-1].argmax(1))
                rois = boxes.decode(head.bbox_coder, rois, deltas, image)
        scores = torch.stack(logits).mean(0).softmax(1)[:, :-1]
        settings = self.model.roi_head.test_cfg
        place, labels = (scores > settings.score_thr).nonzero().unbind(1)
        deltas = boxes.of_class(deltas[place], labels)
        found = boxes.decode(head.bbox_coder, rois[place], deltas, image)
        scores = scores[place, labels]
        kept = boxes.suppress(found, scores, labels, settings)
        return found[kept], labels[kept], scores[kept]

    def _masks(self, maps: Sequence[Tensor], found: Tensor, labels: Tensor) -> Tensor:
        """Return the masks of objects, averaged over the stages."""
        # With one more box, as engines may refuse to compute convolutions of none.
        found = torch.cat([found, found.new_zeros(1, 4)])
        labels = torch.cat([labels, labels.new_zeros(1)])
        masks = [
            boxes.of_class(head(boxes.pool(extractor, maps, found)), labels).sigmoid()
            for extractor, head in self.mask_stages
        ]
        return torch.stack(masks).mean(0)[:-1]


def candidates(
    head: Any, maps: Sequence[Tensor], image: Tensor, threshold: float
) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Yield the best boxes of each level, before suppression.

    Args:
        head: mmdet's AnchorHead.
        maps: Maps of all levels, each (1, C, H_i, W_i).
        image: (1, 3, H, W).
        threshold: Only boxes with higher scores are yielded.

    Yields:
        Boxes, (n, 4), x1, y1, x2, y2 in pixels; scores, (n,), and labels, (n,), int64.
    """
    settings = head.test_cfg
    score_maps, delta_maps = head(maps)
    anchors = head.prior_generator.grid_priors(
        [score.shape[-2:] for score in score_maps],
        dtype=score_maps[0].dtype,
        device=score_maps[0].device,
    )
    for score, deltas, anchor in zip(score_maps, delta_maps, anchors, strict=True):
        score = score[0].permute(1, 2, 0).reshape(-1, head.cls_out_channels)
        score = score.sigmoid() if head.use_sigmoid_cls else score.softmax(1)[:, :-1]
        classes = score.shape[1]
        score, place = boxes.best(score.flatten(), threshold, settings.get('nms_pre', -1))
        row, label = place // classes, place % classes
        deltas = deltas[0].permute(1, 2, 0).reshape(-1, 4)[row]
        found = boxes.decode(head.bbox_coder, anchor[row], deltas, image)
        width, height = (found[:, 2:] - found[:, :2]).unbind(1)
        smallest = settings.get('min_bbox_size', -1)
        large = (width > smallest) & (height > smallest)
        yield found[large], score[large], label[large]


def make_detector(model: Any, inputs: Inputs) -> Graph:
    """Make the graph of a detector.

    Args:
        model: The detector.
        inputs: What is done to the images first.

    Returns:
        The graph.

    Raises:
        UserError: The detector, or a part of it, computes something else than the graph would.
    """
    if not hasattr(model, 'roi_head'):
        _check(model, SingleStageDetector, 'predict', 'extract_feat')
        _check_dense(model.bbox_head, AnchorHead, BaseDenseHead)
        return OneStage(model, inputs)
    roi_head = model.roi_head
    _check(model, TwoStageDetector, 'predict', 'extract_feat')
    _check_dense(model.rpn_head, RPNHead, RPNHead)
    base = CascadeRoIHead if isinstance(roi_head, CascadeRoIHead) else StandardRoIHead
    _check(roi_head, base, '_bbox_forward', '_mask_forward', 'predict_bbox', 'predict_mask')
    _check_nms(roi_head.test_cfg)
    if roi_head.with_shared_head:
        raise _unsupported(roi_head.shared_head, 'no shared head')
    graph = TwoStage(model, inputs)
    for _, head in graph.box_stages:
        _check(head, BBoxHead, '_predict_by_feat_single', 'regress_by_class')
        _check_coder(head.bbox_coder)
        if head.custom_activation or not head.with_reg:
            raise _unsupported(head.loss_cls, 'CrossEntropyLoss, and regression of boxes')
    for _, head in graph.mask_stages:
        _check(head, FCNMaskHead, '_predict_by_feat_single')
    for extractor, _ in graph.box_stages + graph.mask_stages:
        _check(extractor, SingleRoIExtractor, 'map_roi_levels', 'roi_rescale')
        for layer in extractor.roi_layers:
            if getattr(layer, 'pool_mode', None) != 'avg':
                raise _unsupported(layer, "RoIAlign with pool_mode='avg'")
    return graph


def _stages(extractors: Any, heads: Any) -> list[tuple[Any, Any]]:
    """Pair the extractors and heads of all stages; a StandardRoIHead has one of each."""
    if not isinstance(heads, nn.ModuleList):
        extractors, heads = [extractors], [heads]
    return list(zip(extractors, heads, strict=True))


def _check_dense(head: nn.Module, base: type, owner: type) -> None:
    _check(head, base)
    _check(head, owner, '_predict_by_feat_single', '_bbox_post_process')
    _check_nms(head.test_cfg)
    _check_coder(head.bbox_coder)


def _check_nms(settings: Any) -> None:
    kind = settings.nms.get('type', 'nms')
    if kind != 'nms':
        raise UserError(
            f'ONNX has no {kind}: export with the NMS that it has, by --cfg-options, if the scores '
            "of tools/test.py are as good with type='nms'"
        )


def _check_coder(coder: object) -> None:
    if not isinstance(coder, DeltaXYWHBBoxCoder):
        raise _unsupported(coder, 'DeltaXYWHBBoxCoder')


def _check(part: Any, base: type, *methods: str) -> None:
    """Check that a part of a detector is of a class, and has its methods as they are in it."""
    if not isinstance(part, base) or any(
        getattr(type(part), name) is not getattr(base, name) for name in methods
    ):
        raise _unsupported(part, base.__name__)


def _unsupported(part: object, instead: str) -> UserError:
    return UserError(
        f'{type(part).__name__} is not exported, only {instead}: of the detectors, RetinaNet, and '
        'Faster, Mask and Cascade (Mask) R-CNN are'
    )
