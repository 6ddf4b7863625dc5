"""Networks with weights like trained ones, and tolerances for their outputs."""

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm


def trained(model: nn.Module) -> nn.Module:
    """Set statistics and weights of BNs as in a trained network, including negative weights."""
    generator = torch.Generator().manual_seed(1)
    for norm in bns(model):
        for tensor in (norm.weight.data, norm.bias.data, norm.running_mean):
            tensor.normal_(generator=generator).mul_(0.5)
        norm.weight.data.add_(0.5)
        norm.running_var.uniform_(0.5, 1.5, generator=generator)
    return model.eval()


def bns(model: nn.Module) -> list[nn.Module]:
    return [module for module in model.modules() if isinstance(module, _BatchNorm)]


def assert_close(output: torch.Tensor, expected: torch.Tensor, relative: float = 1e-4) -> None:
    assert output.dtype == expected.dtype
    assert (output - expected).abs().max() <= relative * expected.abs().max()
