"""The three nearest neighbours in one set of points, for every point of another set."""

import numpy as np
from numpy import ndarray

from lidar_rank.kernels.jit import kernel


@kernel
def three_nearest(points: ndarray, references: ndarray) -> tuple[ndarray, ndarray]:
    """Find the three nearest references of each point.

    From each point the search goes outwards along x, until no reference can be nearer than the third found.

    Args:
        points: (P, 3).
        references: (R, 3), x ascending.

    Returns:
        Indices of the references (P, 3), nearest first, and squared distances (P, 3). If there are fewer than three
        references, the missing indices are 0 and their distances infinite.
    """
    count = references.shape[0]
    x_of = np.ascontiguousarray(references[:, 0])
    rows = np.zeros((points.shape[0], 3), dtype=np.int64)
    squared = np.full((points.shape[0], 3), np.inf)
    for p in range(points.shape[0]):
        x, y, z = points[p, 0], points[p, 1], points[p, 2]
        right = np.searchsorted(x_of, x)
        left = right - 1
        while left >= 0 or right < count:
            goes_right = left < 0 or (right < count and x_of[right] - x < x - x_of[left])
            row = right if goes_right else left
            dx, dy, dz = references[row, 0] - x, references[row, 1] - y, references[row, 2] - z
            if dx * dx >= squared[p, 2]:
                break
            distance = dx * dx + dy * dy + dz * dz
            if distance < squared[p, 2]:
                _insert(rows[p], squared[p], row, distance)
            if goes_right:
                right += 1
            else:
                left -= 1
    return rows, squared


@kernel
def _insert(rows: ndarray, squared: ndarray, row: int, distance: float) -> None:
    """Insert ``row`` in its place among the three nearest, and drop the last of these."""
    place = 2
    while place > 0 and distance < squared[place - 1]:
        rows[place], squared[place] = rows[place - 1], squared[place - 1]
        place -= 1
    rows[place], squared[place] = row, distance
