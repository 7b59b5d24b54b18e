"""Which voxel each point lies in, and points gathered into voxels in the order in which the voxels are first met."""

import numpy as np
from numpy import ndarray

from lidar_rank.kernels.jit import kernel

OUTSIDE = -1
_EMPTY = -1


@kernel(error_model="numpy")
def find_cells(points: ndarray, low: ndarray, size: ndarray, grid: ndarray, cells: ndarray) -> None:
    """Find the cell of a grid that each point lies in, computed in the wider of the dtypes of the points and the grid.

    Args:
        points: (P, >=3), x, y, z.
        low: (3,) float32, lower bound of the grid.
        size: (3,) float32, size of a cell.
        grid: (3,) int64, number of cells.
        cells: (P, 3) int32, written: z, y, x of the cell, or OUTSIDE three times.
    """
    for p in range(len(points)):
        x = np.floor((points[p, 0] - low[0]) / size[0])
        y = np.floor((points[p, 1] - low[1]) / size[1])
        z = np.floor((points[p, 2] - low[2]) / size[2])
        if 0 <= x < grid[0] and 0 <= y < grid[1] and 0 <= z < grid[2]:
            cells[p, 0], cells[p, 1], cells[p, 2] = np.int32(z), np.int32(y), np.int32(x)
        else:
            cells[p, 0], cells[p, 1], cells[p, 2] = OUTSIDE, OUTSIDE, OUTSIDE


@kernel
def fill_voxels(points: ndarray, cells: ndarray, voxels: ndarray, voxel_cells: ndarray, num_points: ndarray) -> int:
    """Copy each point into the voxel of its cell, as long as there is room.

    Args:
        points: (P, F).
        cells: (P, 3) int32, z, y, x of the cell; OUTSIDE for a point that has none.
        voxels: (V, M, F), written: up to M points of each of V voxels.
        voxel_cells: (V, 3) int32, written: cell of each voxel.
        num_points: (V,) int32, zeros on entry, written: points in each voxel.

    Returns:
        Number of voxels. Points of a cell that is met after V voxels are full are dropped, and so are points of a
        voxel that has M already.
    """
    max_voxels, max_points, num_features = voxels.shape
    # An open-addressing hash table, at most half full: a dense table of all cells takes longer to clear than to use.
    capacity = 2
    while capacity < 2 * min(len(points), max_voxels):
        capacity *= 2
    table = np.full(capacity, _EMPTY, np.int32)
    num_voxels = 0
    for p in range(len(points)):
        z, y, x = cells[p]
        if z == OUTSIDE:
            continue
        slot = (z * 73856093 ^ y * 19349663 ^ x * 83492791) & (capacity - 1)
        voxel = table[slot]
        while voxel != _EMPTY and (
            voxel_cells[voxel, 2] != x or voxel_cells[voxel, 1] != y or voxel_cells[voxel, 0] != z
        ):
            slot = (slot + 1) & (capacity - 1)
            voxel = table[slot]
        if voxel == _EMPTY:
            if num_voxels == max_voxels:
                continue
            voxel = num_voxels
            table[slot] = voxel
            voxel_cells[voxel, 0], voxel_cells[voxel, 1], voxel_cells[voxel, 2] = z, y, x
            num_voxels += 1
        row = num_points[voxel]
        if row < max_points:
            for feature in range(num_features):
                voxels[voxel, row, feature] = points[p, feature]
            num_points[voxel] = row + 1
    return num_voxels
