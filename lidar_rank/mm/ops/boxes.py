"""Overlap of rotated boxes seen from above, and points in upright boxes."""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from lidar_rank.geometry import paired_iou_bev, pairwise_iou_bev
from lidar_rank.mm.ops import dispatch

_SMALLEST_AREA = 1e-14
"""mmcv: boxes below it overlap nothing."""
_IOF = 1


@torch.no_grad()
def box_iou_rotated(
    boxes1: Float[Tensor, "n 5"],
    boxes2: Float[Tensor, "m 5"],
    ious: Float[Tensor, " pair"],
    mode_flag: int,
    aligned: bool,
) -> None:
    """Write the overlap of boxes (x, y, length, width, yaw) to ``ious``; length lies on x at yaw 0.

    mmcv computes it in float32 on a CPU, here it is computed in float64.

    Args:
        boxes1: In metres and radians. Two negative sizes count as positive ones, a single one as 0.
        boxes2: The same; as many as ``boxes1`` if ``aligned``.
        ious: Written: row by row of ``boxes1``, or of the pairs in their order if ``aligned``. NaN where an area is.
        mode_flag: 0 for intersection over union, 1 for intersection over the area of the box of ``boxes1``.
        aligned: Whether row i meets row i alone.
    """
    a, b = sound_rectangles(boxes1), sound_rectangles(boxes2)
    area_a, area_b = boxes1[:, 2:4].double().prod(1), boxes2[:, 2:4].double().prod(1)
    if aligned:
        iou = paired_iou_bev(a, b)
    else:
        iou = torch.from_numpy(pairwise_iou_bev(a.numpy(), b.numpy())) if dispatch.uses_numba(a) else pairwise_iou(a, b)
        area_a, area_b = area_a[:, None], area_b[None]
    base = area_a + area_b
    if mode_flag == _IOF:
        iou, base = iou / (1 + iou) * base / area_a, area_a
    small = (area_a < _SMALLEST_AREA) | (area_b < _SMALLEST_AREA)
    ious.copy_(iou.where(iou > 0, 0).masked_fill(base.isnan(), torch.nan).masked_fill(small, 0).flatten())


def sound_rectangles(boxes: Float[Tensor, "box 5"]) -> Float[Tensor, "box 5"]:
    """Boxes in float64, finite, no size negative; those that overlap nothing in mmcv become zeros."""
    sound = boxes[:, :5].double()
    usable = sound.isfinite().all(1) & (sound[:, 2:4].prod(1) >= _SMALLEST_AREA)
    sound = sound.where(usable[:, None], 0)
    sound[:, 2:4] = sound[:, 2:4].abs()
    return sound


def pairwise_iou(a: Float[Tensor, "n 5"], b: Float[Tensor, "m 5"]) -> Float[Tensor, "n m"]:
    """IoU of all pairs of sound rectangles in plain torch; of most pairs the distance says that it is 0."""
    reach_a, reach_b = a[:, 2:4].norm(dim=1) / 2, b[:, 2:4].norm(dim=1) / 2
    near = (a[:, None, :2] - b[None, :, :2]).square().sum(-1) < (reach_a[:, None] + reach_b).square()
    row_a, row_b = near.nonzero(as_tuple=True)
    iou = a.new_zeros(len(a), len(b))
    iou[row_a, row_b] = paired_iou_bev(a[row_a], b[row_b])
    return iou


@torch.no_grad()
def points_in_boxes_part_forward(
    boxes: Float[Tensor, "batch box 7"],
    pts: Float[Tensor, "batch point 3"],
    box_idx_of_points: Int[Tensor, "batch point"],
) -> None:
    """Write the first box that each point lies in; points in no box are left as they are.

    Args:
        boxes: x, y, z_bottom, length, width, height, yaw in metres and radians.
        pts: x, y, z in metres.
        box_idx_of_points: int32, -1 on entry, written.
    """
    if boxes.shape[1] == 0:
        return
    inside = _inside(boxes, pts)
    first = inside.int().argmax(2)
    box_idx_of_points.copy_(first.where(inside.any(2), box_idx_of_points))


@torch.no_grad()
def points_in_boxes_all_forward(
    boxes: Float[Tensor, "batch box 7"],
    pts: Float[Tensor, "batch point 3"],
    box_idx_of_points: Int[Tensor, "batch point box"],
) -> None:
    """Write 1 for each box that a point lies in.

    Args:
        boxes: x, y, z_bottom, length, width, height, yaw in metres and radians.
        pts: x, y, z in metres.
        box_idx_of_points: int32, zeros on entry, written.
    """
    box_idx_of_points.copy_(_inside(boxes, pts))


@torch.no_grad()
def points_in_boxes_cpu_forward(
    boxes: Float[Tensor, "box 7"], pts: Float[Tensor, "point 3"], pts_indices: Int[Tensor, "box point"]
) -> None:
    """Write 1 for each point that lies in a box, 0 for the others.

    Args:
        boxes: x, y, z_bottom, length, width, height, yaw in metres and radians, float32.
        pts: x, y, z in metres, float32.
        pts_indices: int32, written.
    """
    dispatch.check_dtype("points_in_boxes_cpu", boxes, torch.float32)
    pts_indices.copy_(_inside(boxes[None], pts[None])[0].T)


def _inside(
    boxes: Float[Tensor, "batch box 7"], points: Float[Tensor, "batch point 3"]
) -> Bool[Tensor, "batch point box"]:
    """Whether each point lies in each box, top and bottom included; each step is rounded as in mmcv."""
    x, y, z_bottom, length, width, height, yaw = boxes[:, None].unbind(-1)
    z = (z_bottom.double() + height.double() / 2).to(boxes.dtype)
    cos, sin = (-yaw.double()).cos().to(boxes.dtype), (-yaw.double()).sin().to(boxes.dtype)
    dx, dy, dz = points[:, :, None, 0] - x, points[:, :, None, 1] - y, points[:, :, None, 2] - z
    along, across = dx * cos + dy * -sin, dx * sin + dy * cos
    return (
        ~(dz.abs() > height / 2)
        & (along > -length / 2)
        & (along < length / 2)
        & (across > -width / 2)
        & (across < width / 2)
    )
