"""Boxes as tensors: their check, their columns seen from above, and their overlap, without waiting for a GPU.

Nothing here reads a value or copies a list of numbers to the device; on a GPU both would wait until it has done all
work before.
"""

import math
from typing import Final, Literal

import torch
from torch import Tensor

from lidar_rank import devices
from lidar_rank.geometry.boxes import checked_boxes
from lidar_rank.geometry.paired_iou import bev_of, paired_iou_3d, paired_iou_bev
from lidar_rank.shapes import Float, Float32

Overlap = Literal["nearest_bev", "rotated_bev", "3d"]

_PAIRS_AT_ONCE: Final = 1 << 19
"""Bounds the memory of rotated overlaps, which hold some 30 numbers per pair."""
_SMALLEST_OVERLAP: Final = 1e-9
"""Rounding gives less than this to rotated boxes that do not touch; it is an area of some square millimetres."""


def check_boxes(boxes: Float[Tensor, "box 7"], name: str, *, allow_empty: bool = False) -> None:
    """Refuse boxes that are not finite or have a size that is not positive.

    Args:
        boxes: (N, 7) or wider.
        name: Name of the boxes for error messages.
        allow_empty: Whether a size may be 0. It must never be negative.

    Raises:
        ValueError: a box is refused. On CUDA an assertion is queued instead, whose message CUDA prints.
    """
    if devices.on_cpu(boxes):
        checked_boxes(boxes.detach(), name, allow_empty=allow_empty, allow_wider=True)
        return
    sizes = boxes[:, 3:6]
    sound = boxes[:, :7].isfinite().all(1) & (sizes >= 0 if allow_empty else sizes > 0).all(1)
    rule = f"values must be finite and sizes {'>= 0' if allow_empty else '> 0'}"
    devices.require(sound.all(), f"{name}: {rule}", lambda: f"got {boxes[~sound][0].tolist()}")


def nearest_bev(boxes: Float[Tensor, "box 7"]) -> Float[Tensor, "box 4"]:
    """As :func:`lidar_rank.geometry.boxes.nearest_bev`, with the same values in float32."""
    yaw = boxes[:, 6:7]
    across = (yaw - (yaw / math.pi + 0.5).floor() * math.pi).abs() > math.pi / 4
    half_size = boxes[:, 3:5].flip(1).where(across, boxes[:, 3:5]) / 2
    return torch.cat([boxes[:, :2] - half_size, boxes[:, :2] + half_size], dim=1)


@torch.no_grad()
def pairwise_overlap(
    a: Float[Tensor, "n 7"], b: Float[Tensor, "m 7"], overlap: Overlap = "nearest_bev"
) -> Float32[Tensor, "n m"]:
    """IoU of every pair, as :class:`lidar_rank.assign.AnchorIndex` computes it for pairs that are near each other.

    Args:
        a: (N, 7) or wider, the few boxes.
        b: (M, 7) or wider, the many boxes.
        overlap: See there.

    Returns:
        0 for pairs that do not overlap. Rotated overlap is computed in float64 and rounded, so that equal ones stay
        equal.
    """
    if overlap == "nearest_bev":
        return _rectangle_iou(nearest_bev(a.float()), nearest_bev(b.float()))
    parts = a.split(max(_PAIRS_AT_ONCE // max(len(b), 1), 1))
    return torch.cat([_rotated_iou(part, b, with_height=overlap == "3d") for part in parts])


def _rectangle_iou(a: Float32[Tensor, "n 4"], b: Float32[Tensor, "m 4"]) -> Float32[Tensor, "n m"]:
    """IoU of (x_min, y_min, x_max, y_max); every step is rounded as in mmdet's ``bbox_overlaps``."""
    area_a, area_b = ((sides[:, 2:] - sides[:, :2]).prod(1) for sides in (a, b))
    x_min_a, y_min_a, x_max_a, y_max_a = a[..., None].unbind(1)
    x_min_b, y_min_b, x_max_b, y_max_b = b.unbind(1)
    shared_x = (torch.minimum(x_max_a, x_max_b) - torch.maximum(x_min_a, x_min_b)).clamp_(min=0)
    shared_y = (torch.minimum(y_max_a, y_max_b) - torch.maximum(y_min_a, y_min_b)).clamp_(min=0)
    shared = shared_x.mul_(shared_y)
    return shared / (area_a[:, None] + area_b - shared).clamp_(min=1e-6)


def _rotated_iou(a: Tensor, b: Tensor, *, with_height: bool) -> Float32[Tensor, "n m"]:
    row_a = a[:, None, :7].double().expand(-1, len(b), -1).flatten(0, 1)
    row_b = b[None, :, :7].double().expand(len(a), -1, -1).flatten(0, 1)
    iou = paired_iou_3d(row_a, row_b) if with_height else paired_iou_bev(bev_of(row_a), bev_of(row_b))
    return iou.where(iou > _SMALLEST_OVERLAP, 0).float().view(len(a), len(b))
