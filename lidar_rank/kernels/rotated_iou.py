"""Overlap of rotated rectangles and of upright boxes, in float64.

Every function works in the frame of the first rectangle, centred on it. All numbers are then small, however far both
rectangles are from the origin, and a rectangle overlaps itself by exactly its own area.
"""

import math

import numpy as np
from numpy import ndarray

from lidar_rank.kernels.jit import kernel

Point = tuple[float, float]
Rectangle = tuple[float, float, float, float, float]
"""(x, y, length, width, yaw)"""


@kernel
def _clamped_integral(start: Point, stop: Point, half_x: float, half_y: float) -> float:
    """Integral of clamp(y, -half_y, half_y) dx along a segment, over its part with -half_x <= x <= half_x."""
    (x0, y0), (x1, y1) = start, stop
    left, right = min(max(x0, -half_x), half_x), min(max(x1, -half_x), half_x)
    if left == right:
        return 0.0
    y_left = y0 + (left - x0) / (x1 - x0) * (y1 - y0)
    y_right = y1 + (right - x1) / (x1 - x0) * (y1 - y0)
    low, high = min(y_left, y_right), max(y_left, y_right)
    if low >= half_y:
        mean = half_y
    elif high <= -half_y:
        mean = -half_y
    elif low >= -half_y and high <= half_y:
        mean = 0.5 * (low + high)
    else:
        inner_low, inner_high = max(low, -half_y), min(high, half_y)
        inner = 0.5 * (inner_low + inner_high) * (inner_high - inner_low)
        mean = (inner + half_y * ((high - inner_high) - (inner_low - low))) / (high - low)
    return (right - left) * mean


@kernel
def _overlap_with_upright(half_x: float, half_y: float, other: Rectangle) -> float:
    """Intersection of the rectangle |x| <= half_x, |y| <= half_y with another one.

    A vertical line crosses two edges of the other rectangle, so the area is the closed integral of the clamped y along
    its edges. The separating-axis test before that is for speed, and for exact zeros where the two do not touch.
    """
    x, y, length, width, yaw = other
    cos, sin = math.cos(yaw), math.sin(yaw)
    ux, uy = 0.5 * length * cos, 0.5 * length * sin
    vx, vy = -0.5 * width * sin, 0.5 * width * cos
    if (
        abs(x) >= half_x + abs(ux) + abs(vx)
        or abs(y) >= half_y + abs(uy) + abs(vy)
        or abs(x * cos + y * sin) >= 0.5 * length + half_x * abs(cos) + half_y * abs(sin)
        or abs(y * cos - x * sin) >= 0.5 * width + half_x * abs(sin) + half_y * abs(cos)
    ):
        return 0.0
    a, b = (x + ux + vx, y + uy + vy), (x - ux + vx, y - uy + vy)
    c, d = (x - ux - vx, y - uy - vy), (x + ux - vx, y + uy - vy)
    left = _clamped_integral(a, b, half_x, half_y) + _clamped_integral(b, c, half_x, half_y)
    right = _clamped_integral(c, d, half_x, half_y) + _clamped_integral(d, a, half_x, half_y)
    return max(-(left + right), 0.0)


@kernel
def _intersection_area(a: Rectangle, b: Rectangle) -> float:
    """Intersection of two rectangles. If their circumscribed circles do not meet, no trigonometry is computed."""
    x_a, y_a, length_a, width_a, yaw_a = a
    x_b, y_b, length_b, width_b, yaw_b = b
    dx, dy = x_b - x_a, y_b - y_a
    reach = 0.5 * (math.sqrt(length_a**2 + width_a**2) + math.sqrt(length_b**2 + width_b**2))
    if dx * dx + dy * dy >= reach * reach:
        return 0.0
    cos, sin = math.cos(yaw_a), math.sin(yaw_a)
    seen_from_a = (cos * dx + sin * dy, cos * dy - sin * dx, length_b, width_b, yaw_b - yaw_a)
    return _overlap_with_upright(0.5 * length_a, 0.5 * width_a, seen_from_a)


@kernel
def _iou(intersection: float, size_a: float, size_b: float) -> float:
    union = size_a + size_b - intersection
    return min(intersection / union, 1.0) if union > 0 else 0.0


@kernel
def fill_pairwise_iou(boxes_a: ndarray, boxes_b: ndarray, iou: ndarray) -> None:
    """Write the IoU of every pair of upright boxes.

    Args:
        boxes_a: (N, 7) float64, x, y, z_bottom, length, width, height, yaw.
        boxes_b: (M, 7) float64, the same columns.
        iou: (N, M) float64, zeros on entry.
    """
    for i in range(len(boxes_a)):
        x_a, y_a, z_a, length_a, width_a, height_a, yaw_a = boxes_a[i]
        for j in range(len(boxes_b)):
            x_b, y_b, z_b, length_b, width_b, height_b, yaw_b = boxes_b[j]
            height = min(height_a, z_b - z_a + height_b) - max(0.0, z_b - z_a)
            if height > 0:
                area = _intersection_area((x_a, y_a, length_a, width_a, yaw_a), (x_b, y_b, length_b, width_b, yaw_b))
                volume_a, volume_b = length_a * width_a * height_a, length_b * width_b * height_b
                iou[i, j] = _iou(area * height, volume_a, volume_b)


@kernel
def paired_intersection_area(boxes_a: ndarray, boxes_b: ndarray, index_a: ndarray, index_b: ndarray) -> ndarray:
    """Intersection of ``boxes_a[index_a[i]]`` and ``boxes_b[index_b[i]]`` for each i.

    Args:
        boxes_a: (N, 5) float64, x, y, length, width, yaw.
        boxes_b: (M, 5) float64, the same columns.
        index_a: (P,) int64.
        index_b: (P,) int64.

    Returns:
        (P,) float64.
    """
    area = np.empty(len(index_a))
    for i in range(len(index_a)):
        x_a, y_a, length_a, width_a, yaw_a = boxes_a[index_a[i]]
        x_b, y_b, length_b, width_b, yaw_b = boxes_b[index_b[i]]
        area[i] = _intersection_area((x_a, y_a, length_a, width_a, yaw_a), (x_b, y_b, length_b, width_b, yaw_b))
    return area


@kernel
def suppress_overlapping(boxes: ndarray, iou_threshold: float) -> ndarray:
    """Mark each box that overlaps no marked box before it by more than the threshold.

    Args:
        boxes: (N, 5) float64, x, y, length, width, yaw, best first.
        iou_threshold: IoU above which the later box is dropped.

    Returns:
        (N,) bool.
    """
    kept = np.ones(len(boxes), dtype=np.bool_)
    for j in range(len(boxes)):
        x_b, y_b, length_b, width_b, yaw_b = boxes[j]
        for i in range(j):
            if kept[i]:
                x_a, y_a, length_a, width_a, yaw_a = boxes[i]
                area = _intersection_area((x_a, y_a, length_a, width_a, yaw_a), (x_b, y_b, length_b, width_b, yaw_b))
                if _iou(area, length_a * width_a, length_b * width_b) > iou_threshold:
                    kept[j] = False
                    break
    return kept
