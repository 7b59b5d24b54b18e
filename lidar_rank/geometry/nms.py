"""Non-maximum suppression of rotated boxes seen from above."""

import numpy as np
from numpy import ndarray

from lidar_rank.geometry.boxes import BEV_COLUMNS, checked_boxes
from lidar_rank.kernels.rotated_iou import suppress_overlapping
from lidar_rank.shapes import Int, Shaped


def nms_bev(
    boxes: Shaped[ndarray, "n 5"], scores: Shaped[ndarray, " n"], iou_threshold: float
) -> Int[ndarray, " kept"]:
    """Keep each box whose IoU with every better kept box is at most ``iou_threshold``.

    Args:
        boxes: (x, y, length, width, yaw) in metres and radians.
        scores: Higher is better; of equal scores the earlier box is better.
        iou_threshold: Within [0, 1]. At 1 all boxes are kept.

    Returns:
        Indices of the kept boxes, best first.

    Raises:
        ValueError: a shape is wrong, a value is not finite, a size is negative, or the threshold is outside [0, 1].
    """
    boxes = checked_boxes(boxes, "boxes", BEV_COLUMNS, allow_empty=True)
    scores = np.asarray(scores, dtype=np.float64)  # unsigned integers have no negatives
    if scores.shape != (len(boxes),):
        raise ValueError(f"scores must have shape ({len(boxes)},), one per box, got {scores.shape}")
    if not np.isfinite(scores).all():
        raise ValueError(f"scores must be finite, got {scores[~np.isfinite(scores)][0]}")
    if not 0 <= iou_threshold <= 1:
        raise ValueError(f"iou_threshold must be within [0, 1], got {iou_threshold}")
    best_first = np.argsort(-scores, kind="stable")
    return best_first[suppress_overlapping(boxes[best_first], iou_threshold)]
