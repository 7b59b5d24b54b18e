"""Non-maximum suppression of upright boxes of an image."""

import numpy as np
from numpy import ndarray

from lidar_rank.kernels.jit import kernel


@kernel(error_model="numpy")
def suppress_overlapping_upright(boxes: ndarray, iou_threshold: float, margin: float) -> ndarray:
    """Mark each box that overlaps no marked box before it by more than the threshold.

    Every step is rounded to float32 in the order of mmcv's operator ``nms``. The overlap of two boxes without area is
    NaN, which is above no threshold.

    Args:
        boxes: (N, 4) float32, x_min, y_min, x_max, y_max, best first.
        iou_threshold: float32; IoU above which the later box is dropped.
        margin: float32, added to each width and height; 1 where x_max is the last pixel inside.

    Returns:
        (N,) bool.
    """
    kept = np.zeros(len(boxes), dtype=np.bool_)
    # What is kept, packed, so that the inner loop reads memory in order.
    rows, areas, count = np.empty_like(boxes), np.empty(len(boxes), boxes.dtype), 0
    for j in range(len(boxes)):
        x_min, y_min, x_max, y_max = boxes[j]
        area = (x_max - x_min + margin) * (y_max - y_min + margin)
        dropped = False
        for i in range(count):
            width = min(x_max, rows[i, 2]) - max(x_min, rows[i, 0]) + margin
            height = min(y_max, rows[i, 3]) - max(y_min, rows[i, 1]) + margin
            shared = max(np.float32(0), width) * max(np.float32(0), height)
            if shared / (areas[i] + area - shared) > iou_threshold:
                dropped = True
                break
        if not dropped:
            rows[count], areas[count] = boxes[j], area
            count += 1
            kept[j] = True
    return kept
