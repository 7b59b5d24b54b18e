"""Matching of anchors with objects on the device of the tensors, without waiting for it."""

from typing import NamedTuple

import torch
from torch import Tensor

from lidar_rank.assign.anchors import checked_thresholds
from lidar_rank.geometry.tensors import Overlap, check_boxes, pairwise_overlap
from lidar_rank.kernels.assignment import BACKGROUND, IGNORED
from lidar_rank.shapes import Bool, Float, Float32, Int64


class TensorAssignment(NamedTuple):
    """What each anchor is matched with."""

    matched: Int64[Tensor, " anchor"]
    """Row of the matched object, BACKGROUND (-1) or IGNORED (-2)."""
    overlap: Float32[Tensor, " anchor"]
    """Largest overlap with any object, matched or not; 0 where the anchor is not usable."""


@torch.no_grad()
def assign_tensors(
    anchors: Float[Tensor, "anchor 7"],
    objects: Float[Tensor, "object 7"],
    *,
    overlap: Overlap = "nearest_bev",
    usable: Bool[Tensor, " anchor"] | None = None,
    pos_iou_thr: float = 0.6,
    neg_iou_thr: float = 0.45,
    min_pos_iou: float = 0.45,
    gt_max_assign_all: bool = True,
) -> TensorAssignment:
    """Match the anchors of one scan with its objects by the rules of :func:`lidar_rank.assign.assign_anchors`.

    Every anchor is compared with every object, which is what a GPU does well; on a CPU the other function is faster.

    Args:
        anchors: (A, 7) or wider, finite and with positive sizes, which is not checked.
        objects: (N, 7) or wider, on the device of the anchors.
        overlap: As :class:`lidar_rank.assign.AnchorIndex`.
        usable: As there, and so for what is not listed here.
        pos_iou_thr: See there.
        neg_iou_thr: See there.
        min_pos_iou: See there.
        gt_max_assign_all: See there.

    Raises:
        ValueError: thresholds are out of order; an object is not finite or has a size that is not positive (on CUDA a
            queued assertion).
    """
    checked_thresholds(pos_iou_thr, neg_iou_thr)
    check_boxes(objects, "objects")
    iou = pairwise_overlap(objects, anchors, overlap)
    if usable is not None:
        iou = iou.masked_fill(~usable, 0)
    if not iou.numel():
        largest, matched = iou.new_zeros(len(anchors)), objects.new_full((len(anchors),), BACKGROUND, dtype=torch.int64)
    else:
        largest, matched = iou.max(0)
        matched = matched.masked_fill(largest < pos_iou_thr, IGNORED).masked_fill(largest < neg_iou_thr, BACKGROUND)
        claimant = _last_claimant(iou, min_pos_iou, all_ties=gt_max_assign_all)
        matched = claimant.where(claimant >= 0, matched)
    return TensorAssignment(matched if usable is None else matched.where(usable, IGNORED), largest)


def _last_claimant(iou: Float32[Tensor, "object anchor"], min_pos_iou: float, *, all_ties: bool) -> Tensor:
    """Last object of which an anchor is the best, or one of the best; -1 where there is none."""
    best, first = iou.max(1, keepdim=True)
    claimed = (iou == best) & (best >= min_pos_iou) & (best > 0)
    if not all_ties:
        claimed &= torch.arange(iou.shape[1], device=iou.device) == first
    number = torch.arange(1, len(iou) + 1, device=iou.device)
    return (claimed * number[:, None]).amax(0) - 1
