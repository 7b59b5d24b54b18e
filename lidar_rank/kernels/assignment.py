"""Pairs of anchors and objects that overlap, the object of each anchor, and occupied cells under each anchor."""

import numpy as np
from numpy import ndarray

from lidar_rank.kernels.jit import kernel

BACKGROUND = -1
IGNORED = -2


@kernel
def overlapping_pairs(anchor_rects: ndarray, longest: float, object_rects: ndarray) -> tuple[ndarray, ndarray]:
    """Find the pairs of rectangles that share area.

    Args:
        anchor_rects: (A, 4), x_min, y_min, x_max, y_max, sorted by x_min.
        longest: Largest x_max - x_min of the anchors.
        object_rects: (N, 4), the same columns.

    Returns:
        Index of the object (ascending) and of the anchor of each pair, both (P,) int64.
    """
    first = np.searchsorted(anchor_rects[:, 0], object_rects[:, 0] - longest)
    stop = np.searchsorted(anchor_rects[:, 0], object_rects[:, 2])
    capacity = (stop - first).sum()
    pair_object, pair_anchor = np.empty(capacity, np.int64), np.empty(capacity, np.int64)
    count = 0
    for i in range(len(object_rects)):
        x_min, y_min, _, y_max = object_rects[i]
        for j in range(first[i], stop[i]):
            if anchor_rects[j, 2] > x_min and anchor_rects[j, 3] > y_min and anchor_rects[j, 1] < y_max:
                pair_object[count], pair_anchor[count] = i, j
                count += 1
    return pair_object[:count], pair_anchor[:count]


@kernel
def paired_rectangle_iou(a: ndarray, b: ndarray, row_a: ndarray, row_b: ndarray) -> ndarray:
    """IoU of a[row_a[i]] and b[row_b[i]] for each i. Rectangles are (x_min, y_min, x_max, y_max) and share area.

    Every step is rounded to float32 in the order of mmdet's ``bbox_overlaps``; the union is at least 1e-6, as there.
    """
    iou = np.empty(len(row_a), np.float32)
    for pair in range(len(row_a)):
        x_min_a, y_min_a, x_max_a, y_max_a = a[row_a[pair]]
        x_min_b, y_min_b, x_max_b, y_max_b = b[row_b[pair]]
        area_a = (x_max_a - x_min_a) * (y_max_a - y_min_a)
        area_b = (x_max_b - x_min_b) * (y_max_b - y_min_b)
        shared = (min(x_max_a, x_max_b) - max(x_min_a, x_min_b)) * (min(y_max_a, y_max_b) - max(y_min_a, y_min_b))
        iou[pair] = shared / max(area_a + area_b - shared, np.float32(1e-6))
    return iou


@kernel
def match_anchors(
    pair_object: ndarray,
    pair_anchor: ndarray,
    pair_iou: ndarray,
    num_objects: int,
    num_anchors: int,
    pos_iou_thr: float,
    neg_iou_thr: float,
    min_pos_iou: float,
    all_ties: bool,
) -> tuple[ndarray, ndarray]:
    """Match each anchor with its best object, then each object with its best anchors.

    Args:
        pair_object: (P,), ascending; pairs that are not listed do not overlap.
        pair_anchor: (P,).
        pair_iou: (P,) float32, > 0.
        num_objects: Number of objects.
        num_anchors: Number of anchors.
        pos_iou_thr: float32; an anchor at or above it gets its best object, the first of equal ones.
        neg_iou_thr: float32; an anchor below it is background, one in between is ignored.
        min_pos_iou: float32; an object whose largest overlap reaches it is matched with the anchors that have this
            overlap, whatever they were matched with; where two objects claim one anchor, the later one gets it.
        all_ties: Match an object with all of its best anchors, not only the first.

    Returns:
        Matched object, BACKGROUND or IGNORED, (A,) int64, and the largest overlap with any object, (A,) float32.
    """
    matched, overlap = np.full(num_anchors, BACKGROUND), np.zeros(num_anchors, np.float32)
    best_overlap, best_anchor = np.zeros(num_objects, np.float32), np.full(num_objects, num_anchors)
    for pair in range(len(pair_iou)):
        i, a, iou = pair_object[pair], pair_anchor[pair], pair_iou[pair]
        if iou > overlap[a]:
            overlap[a], matched[a] = iou, i
        if iou > best_overlap[i]:
            best_overlap[i], best_anchor[i] = iou, a
        elif iou == best_overlap[i]:
            best_anchor[i] = min(best_anchor[i], a)
    for a in range(num_anchors):
        if overlap[a] < neg_iou_thr:
            matched[a] = BACKGROUND
        elif overlap[a] < pos_iou_thr:
            matched[a] = IGNORED
    for pair in range(len(pair_iou)):
        i, a, iou = pair_object[pair], pair_anchor[pair], pair_iou[pair]
        if iou == best_overlap[i] and iou >= min_pos_iou and (all_ties or a == best_anchor[i]):
            matched[a] = i
    return matched, overlap


@kernel
def count_in_windows(occupied: ndarray, windows: ndarray) -> ndarray:
    """Count the occupied cells in windows of a grid with an integral image.

    Args:
        occupied: (H, W) bool.
        windows: (A, 4) int, first column, first row, end column, end row; the ends are excluded.

    Returns:
        (A,) int64.
    """
    height, width = occupied.shape
    integral = np.zeros((height + 1, width + 1), np.int32)
    for row in range(height):
        in_row = 0
        for column in range(width):
            in_row += occupied[row, column]
            integral[row + 1, column + 1] = integral[row, column + 1] + in_row
    count = np.empty(len(windows), np.int64)
    for a in range(len(windows)):
        left, top, right, bottom = windows[a]
        count[a] = integral[bottom, right] - integral[top, right] - integral[bottom, left] + integral[top, left]
    return count
