"""The focal loss through mmcv's own function, against its definition."""

import pytest
import torch
from torch import Tensor

from .stand_in import mmcv, needs_stand_in

pytestmark = needs_stand_in


@pytest.mark.parametrize('class_weight', [None, torch.tensor([1.0, 2.0, 0.5], dtype=torch.float64)])
def test_sigmoid_focal_loss_and_its_gradient(class_weight):
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(7, 3, dtype=torch.float64, generator=generator).requires_grad_()
    target = torch.tensor([0, 1, 2, 3, 3, 1, 0])  # 3 is no class
    gamma, alpha = 1.5, 0.3

    def by_definition(logits: Tensor) -> Tensor:
        probability = logits.sigmoid()
        losses = -(1 - alpha) * probability**gamma * (1 - probability).log()
        for sample, label in enumerate(target.tolist()):
            if label < 3:
                p = probability[sample, label]
                positive = torch.zeros_like(losses)
                positive[sample, label] = 1
                losses = torch.where(positive > 0, -alpha * (1 - p) ** gamma * p.log(), losses)
        if class_weight is not None:
            losses = losses * torch.cat([class_weight, class_weight.new_ones(1)])[target, None]
        return losses

    def ours(logits: Tensor) -> Tensor:
        return mmcv.ops.sigmoid_focal_loss(logits, target, gamma, alpha, class_weight, 'sum')

    torch.testing.assert_close(ours(logits), by_definition(logits).sum())
    (gradient,) = torch.autograd.grad(ours(logits), logits)
    (expected,) = torch.autograd.grad(by_definition(logits).sum(), logits)
    torch.testing.assert_close(gradient, expected)
