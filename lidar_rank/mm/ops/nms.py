"""Non-maximum suppression of upright boxes of an image and of rotated boxes seen from above."""

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from lidar_rank.kernels.nms import suppress_overlapping_upright
from lidar_rank.kernels.rotated_iou import suppress_overlapping
from lidar_rank.mm.ops import dispatch
from lidar_rank.mm.ops.boxes import pairwise_iou, sound_rectangles


@torch.no_grad()
def nms(
    boxes: Float[Tensor, "box 4"], scores: Float[Tensor, " box"], iou_threshold: float, offset: int
) -> Int[Tensor, " kept"]:
    """Keep each box that overlaps no better kept box by more than the threshold.

    Args:
        boxes: x_min, y_min, x_max, y_max, float32.
        scores: Higher is better; equal ones come in the order that ``Tensor.sort`` gives them, and on a GPU in their
            own.
        iou_threshold: IoU above which the worse box is dropped.
        offset: Added to each width and height.

    Returns:
        Indices of the kept boxes, best first.

    Raises:
        TypeError: the boxes are not float32.
    """
    dispatch.check_dtype("nms", boxes, torch.float32)
    order = scores.sort(descending=True, stable=boxes.is_cuda)[1]
    boxes = boxes[order].contiguous()
    if dispatch.uses_numba(boxes):
        kept = suppress_overlapping_upright(boxes.numpy(), np.float32(iou_threshold), np.float32(offset))
        return order[torch.from_numpy(kept)]
    # There may be 10,000 boxes: the table of overlaps is filled part by part.
    parts = [_overlap_upright(part, boxes, offset) > iou_threshold for part in boxes.split(1024)]
    return order[suppress(torch.cat(parts))]


@torch.no_grad()
def nms_rotated(
    dets: Float[Tensor, "box columns"],
    scores: Float[Tensor, " box"],
    order: Int[Tensor, " box"],
    dets_sorted: Float[Tensor, "box columns"],
    labels: Tensor,
    iou_threshold: float,
    multi_label: int,
) -> Int[Tensor, " kept"]:
    """Keep each box that overlaps no better kept box by the threshold: reaches it on a CPU, exceeds it elsewhere.

    mmcv's own code differs in this way between devices. It ignores the labels, and so does this. Overlaps are computed
    in float64, in mmcv in the dtype of the boxes.

    Args:
        dets: (x, y, length, width, yaw) in metres and radians, and a label that is not used.
        scores: Not used beside ``order``.
        order: Boxes from the highest score to the lowest.
        dets_sorted: ``dets[order]``.
        labels: Not used.
        iou_threshold: IoU from which the worse box is dropped.
        multi_label: Not used.

    Returns:
        Indices of the kept boxes, best first.
    """
    del dets, scores, labels, multi_label
    boxes, threshold = sound_rectangles(dets_sorted), np.float32(iou_threshold)
    if dispatch.uses_numba(boxes):
        kept = suppress_overlapping(boxes.numpy(), _just_below(threshold, dets_sorted.dtype))
        return order[torch.from_numpy(kept)]
    return order[suppress(pairwise_iou(boxes, boxes) > float(threshold))]


def _just_below(threshold: np.float32, dtype: torch.dtype) -> float:
    """Largest number that is below the threshold once it is rounded to ``dtype``, float32 or float64."""
    if dtype == torch.float64:
        return float(np.nextafter(np.float64(threshold), -np.inf))
    return (float(threshold) + float(np.nextafter(threshold, np.float32(-np.inf)))) / 2


def _overlap_upright(a: Float[Tensor, "n 4"], b: Float[Tensor, "m 4"], offset: int) -> Float[Tensor, "n m"]:
    area_a, area_b = ((boxes[:, 2:] - boxes[:, :2] + offset).prod(1) for boxes in (a, b))
    low, high = torch.maximum(a[:, None, :2], b[:, :2]), torch.minimum(a[:, None, 2:], b[:, 2:])
    shared = (high - low + offset).clamp(min=0).prod(2)
    return shared / (area_a[:, None] + area_b - shared)


def suppress(overlapping: Bool[Tensor, "box box"]) -> Bool[Tensor, " box"]:
    """Mark each box that overlaps no marked box before it.

    All boxes are judged at once by the marks of the round before. After round i the first i marks are final, so the
    marks that a round leaves as they are, mostly after a few, are those of the loop over boxes.
    """
    overlapping = overlapping.triu(diagonal=1)
    kept = torch.ones(len(overlapping), dtype=torch.bool, device=overlapping.device)
    while True:
        judged = ~(overlapping & kept[:, None]).any(0)
        if judged.equal(kept):
            return kept
        kept = judged
