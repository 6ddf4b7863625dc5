"""Convolution at chosen positions only."""

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor


def masked_im2col_forward(
    features: Tensor,
    mask_h_idx: Tensor,
    mask_w_idx: Tensor,
    data_col: Tensor,
    kernel_h: int,
    kernel_w: int,
    pad_h: int,
    pad_w: int,
) -> None:
    """Gather what a convolution needs at chosen positions.

    Args:
        features: (1, C, H, W).
        mask_h_idx: (P,), int64, rows of the positions.
        mask_w_idx: (P,), int64, columns of the positions.
        data_col: (C * kernel_h * kernel_w, P), receives the features under the kernel.
        kernel_h: Height of the kernel.
        kernel_w: Width of the kernel.
        pad_h: Zeros above the features.
        pad_w: Zeros on the left of the features.
    """
    padded = F.pad(features[0], (pad_w, kernel_w - 1, pad_h, kernel_h - 1))
    rows = mask_h_idx[:, None] + torch.arange(kernel_h, device=features.device)
    columns = mask_w_idx[:, None] + torch.arange(kernel_w, device=features.device)
    patches = padded[:, rows[:, :, None], columns[:, None, :]]  # (C, P, kernel_h, kernel_w)
    data_col.copy_(patches.permute(0, 2, 3, 1).reshape(data_col.shape))


def masked_col2im_forward(
    col: Tensor,
    mask_h_idx: Tensor,
    mask_w_idx: Tensor,
    im: Tensor,
    height: int,
    width: int,
    channels: int,
) -> None:
    """Write results to chosen positions.

    Args:
        col: (channels, P), the results.
        mask_h_idx: (P,), int64, rows of the positions.
        mask_w_idx: (P,), int64, columns of the positions.
        im: (1, channels, height, width), receives the results; left unchanged elsewhere.
        height: Height of `im`.
        width: Width of `im`.
        channels: Channels of `im`.
    """
    im[0][:, mask_h_idx, mask_w_idx] = col.to(im.dtype)
