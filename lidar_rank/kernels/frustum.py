"""Which points a camera sees."""

import numpy as np
from numpy import ndarray

from lidar_rank.kernels.jit import kernel


@kernel
def points_in_frustum(
    points: ndarray, projection: ndarray, width: float, height: float, min_depth: float, max_depth: float
) -> ndarray:
    """Mark the points whose projection lies strictly inside the image, with a depth strictly between the limits.

    Args:
        points: (P, >=3), x, y, z.
        projection: (3, 4) float64, homogeneous points to (u * depth, v * depth, depth).
        width: Width of the image, in the unit of u.
        height: Height of the image, in the unit of v.
        min_depth: At least 0.
        max_depth: In the unit of the points.

    Returns:
        (P,) bool.
    """
    inside = np.zeros(points.shape[0], dtype=np.bool_)
    for p in range(points.shape[0]):
        x, y, z = points[p, 0], points[p, 1], points[p, 2]
        depth = projection[2, 0] * x + projection[2, 1] * y + projection[2, 2] * z + projection[2, 3]
        if min_depth < depth < max_depth:
            u = projection[0, 0] * x + projection[0, 1] * y + projection[0, 2] * z + projection[0, 3]
            v = projection[1, 0] * x + projection[1, 1] * y + projection[1, 2] * z + projection[1, 3]
            # Compared without dividing by the depth, because rounding would move points across the border.
            inside[p] = 0 < u < width * depth and 0 < v < height * depth
    return inside
