"""The three nearest neighbours in one set of points, for every point of another set."""

import numpy as np
from numpy import ndarray

from lidar_rank.kernels.jit import kernel


@kernel
def three_nearest(points: ndarray, references: ndarray) -> tuple[ndarray, ndarray]:
    """Find the three nearest references of each point.

    References with the same x are a column, of which a grid has few. From each point the search goes outwards over the
    columns, and outwards along y in each, until no reference can be nearer than the third found.

    Args:
        points: (P, 3).
        references: (R, 3), ordered by x, and by y where x is the same.

    Returns:
        Indices of the references (P, 3), nearest first, and squared distances (P, 3). If there are fewer than three
        references, the missing indices are 0 and their distances infinite.
    """
    rows = np.zeros((points.shape[0], 3), dtype=np.int64)
    squared = np.full((points.shape[0], 3), np.inf)
    if not references.shape[0]:
        return rows, squared
    ends = np.append(np.flatnonzero(references[1:, 0] != references[:-1, 0]) + 1, references.shape[0])
    x_of, y_of = references[ends - 1, 0], np.ascontiguousarray(references[:, 1])
    columns = x_of.size
    for p in range(points.shape[0]):
        x = points[p, 0]
        right = np.searchsorted(x_of, x)
        left = right - 1
        while left >= 0 or right < columns:
            goes_right = left < 0 or (right < columns and x_of[right] - x < x - x_of[left])
            column = right if goes_right else left
            if (x_of[column] - x) ** 2 >= squared[p, 2]:
                break
            start = ends[column - 1] if column else 0
            _search_column(points[p], references, y_of, start, ends[column], rows[p], squared[p])
            if goes_right:
                right += 1
            else:
                left -= 1
    return rows, squared


@kernel
def _search_column(
    point: ndarray, references: ndarray, y_of: ndarray, start: int, end: int, rows: ndarray, squared: ndarray
) -> None:
    """Insert what references ``start`` to ``end``, which have the same x, have nearer than the third found."""
    x, y, z = point[0], point[1], point[2]
    right = start + np.searchsorted(y_of[start:end], y)
    left = right - 1
    while left >= start or right < end:
        goes_right = left < start or (right < end and y_of[right] - y < y - y_of[left])
        row = right if goes_right else left
        dx, dy, dz = references[row, 0] - x, references[row, 1] - y, references[row, 2] - z
        if dx * dx + dy * dy >= squared[2]:
            break
        distance = dx * dx + dy * dy + dz * dz
        if distance < squared[2]:
            _insert(rows, squared, row, distance)
        if goes_right:
            right += 1
        else:
            left -= 1


@kernel
def _insert(rows: ndarray, squared: ndarray, row: int, distance: float) -> None:
    """Insert ``row`` in its place among the three nearest, and drop the last of these."""
    place = 2
    while place > 0 and distance < squared[place - 1]:
        rows[place], squared[place] = rows[place - 1], squared[place - 1]
        place -= 1
    rows[place], squared[place] = row, distance
