"""Which anchors stand on ground where the scan has points."""

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Bool, Int
from numpy.typing import ArrayLike
from torch import Tensor

from lidar_rank import devices
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
        self._corners: dict[torch.device, Tensor] = {}

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

    @torch.no_grad()
    def of_batch(self, voxels: Int[Tensor, "voxel 4"], scans: int) -> Bool[Tensor, "scan anchor"]:
        """Which anchors of each scan are kept, on the device of the voxels.

        Args:
            voxels: Integers, scan, z, y, x of the occupied voxels of a batch.
            scans: Number of scans in the batch.

        Raises:
            ValueError: a voxel lies outside of the grid (on CUDA a queued assertion).
        """
        if devices.on_cpu(voxels):
            masks = [self(voxels[voxels[:, 0] == scan, 1:]) for scan in range(scans)]
            return torch.from_numpy(np.stack(masks))
        columns, rows = self._columns_xy.tolist()
        scan, _, y, x = voxels.long().unbind(1)
        inside = (y >= 0) & (y < rows) & (x >= 0) & (x < columns)
        devices.require(
            inside.all(),
            f"voxels must lie within {columns} x {rows} columns (x, y)",
            lambda: f"got {voxels[~inside][0].tolist()}",
        )
        # Number of occupied columns in front of each corner of the grid: a row and a column of zeros come first.
        occupied = torch.zeros(scans * (rows + 1) * (columns + 1), dtype=torch.int32, device=voxels.device)
        occupied.index_fill_(0, (scan * (rows + 1) + y + 1) * (columns + 1) + x + 1, 1)
        before = occupied.view(scans, rows + 1, columns + 1).cumsum(1, dtype=torch.int32).cumsum(2, dtype=torch.int32)
        left_top, right_top, left_bottom, right_bottom = (
            before.flatten(1).index_select(1, corner) for corner in self._corners_on(voxels.device)
        )
        return right_bottom - right_top - left_bottom + left_top >= self._min_columns

    def _corners_on(self, device: torch.device) -> Int[Tensor, "corner anchor"]:
        """Places of the corners of each anchor in the flat grid; copied to a device once."""
        if device not in self._corners:
            left, top, right, bottom = self._windows.T
            corners = np.stack([top, top, bottom, bottom]) * (self._columns_xy[0] + 1) + [left, right, left, right]
            self._corners[device] = torch.from_numpy(corners).to(device)
        return self._corners[device]


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
