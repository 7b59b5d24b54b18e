"""Which anchors stand on ground where the scan has points."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool
from numpy.typing import ArrayLike

from lidar_rank.geometry.boxes import checked_boxes, nearest_bev
from lidar_rank.kernels.assignment import count_in_windows


class OccupiedAnchors:
    """Marks the anchors whose nearest-BEV rectangle holds enough occupied voxel columns.

    A column is occupied if any of its voxels is, and belongs to a rectangle if its centre lies in it. SA-SSD uses only
    anchors with more than one such column, in training and testing.

    Source: He et al., "Structure Aware Single-stage 3D Object Detection from Point Cloud", CVPR 2020.

    Args:
        anchors: (A, 7) or wider, x, y, z_bottom, length, width, height, yaw in metres and radians.
        voxel_size_m: Size of a voxel in x, y and z.
        point_cloud_range_m: x_min, y_min, z_min, x_max, y_max, z_max of the voxel grid.
        min_columns: Smallest number of columns of an anchor that is kept.

    Raises:
        ValueError: a shape is wrong, or an anchor is not finite or has a size that is not positive.
    """

    def __init__(
        self,
        anchors: ArrayLike,
        *,
        voxel_size_m: Sequence[float],
        point_cloud_range_m: Sequence[float],
        min_columns: int = 2,
    ) -> None:
        origin, size = np.asarray(point_cloud_range_m[:2], np.float64), np.asarray(voxel_size_m[:2], np.float64)
        self._columns_xy = np.rint((point_cloud_range_m[3:5] - origin) / size).astype(np.int64)
        corners = (
            nearest_bev(checked_boxes(anchors, "anchors", dtype=np.float32, allow_wider=True))
            .astype(np.float64)
            .reshape(-1, 2, 2)
        )
        # Column c has its centre at origin + (c + 0.5) * size.
        windows = np.clip(np.ceil((corners - origin) / size - 0.5), 0, self._columns_xy)
        self._windows = windows.astype(np.int64).reshape(-1, 4)
        self._min_columns = min_columns

    def __call__(self, voxels_zyx: ArrayLike) -> Bool[np.ndarray, " anchor"]:
        """Return True for each anchor that is kept.

        Args:
            voxels_zyx: (V, 3) integers, the occupied voxels of one scan. Without voxels no anchor is kept.

        Raises:
            ValueError: ``voxels_zyx`` is not (V, 3) integers, or a voxel lies outside of the grid.
        """
        rows, columns = _checked_columns(voxels_zyx, self._columns_xy).T
        occupied = np.zeros(self._columns_xy[::-1], np.bool_)
        occupied[rows, columns] = True
        return count_in_windows(occupied, self._windows) >= self._min_columns


def _checked_columns(voxels_zyx: ArrayLike, columns_xy: np.ndarray) -> np.ndarray:
    """Return y and x of the voxels (V, 2), all of which lie within the grid."""
    voxels = np.asarray(voxels_zyx)
    if voxels.ndim != 2 or voxels.shape[1] != 3 or not np.issubdtype(voxels.dtype, np.integer):
        raise ValueError(f"voxels must be (V, 3) integers (z, y, x) of one scan, got {voxels.dtype} {voxels.shape}")
    columns = voxels[:, 1:]
    outside = ((columns < 0) | (columns >= columns_xy[::-1])).any(1)
    if outside.any():
        row = int(np.argmax(outside))
        raise ValueError(
            f"voxel {row} must lie within {columns_xy.tolist()} columns (x, y), got {voxels[row].tolist()}"
        )
    return columns
