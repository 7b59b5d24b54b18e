"""Which points lie in which upright box."""

import numpy as np
from numpy import ndarray

from lidar_rank.kernels.jit import kernel


@kernel
def points_in_boxes(points: ndarray, boxes: ndarray) -> ndarray:
    """Mark the points strictly inside each box.

    Args:
        points: (P, >=3), x, y, z.
        boxes: (N, 7) float64, x, y, z_bottom, length, width, height, yaw.

    Returns:
        (N, P) bool.
    """
    inside = np.zeros((boxes.shape[0], points.shape[0]), dtype=np.bool_)
    for n in range(boxes.shape[0]):
        x, y, z_bottom, length, width, height, yaw = boxes[n]
        cos, sin = np.cos(yaw), np.sin(yaw)
        for p in range(points.shape[0]):
            dx, dy, dz = points[p, 0] - x, points[p, 1] - y, points[p, 2] - z_bottom
            along, across = dx * cos + dy * sin, dy * cos - dx * sin
            inside[n, p] = abs(along) < length / 2 and abs(across) < width / 2 and 0 < dz < height
    return inside
