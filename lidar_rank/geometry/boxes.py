"""Upright boxes in the LiDAR frame: their columns, the check of their values, angles and bounding rectangles."""

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import ArrayLike

from lidar_rank.geometry.columns import BOX_COLUMNS
from lidar_rank.shapes import Float

_SIZES: Final = ("length", "width", "height")


def wrap_angle(angle_rad: Any, start_rad: float = -np.pi, period_rad: float = 2 * np.pi) -> Any:
    """Shift angles, a numpy array or a torch tensor, by whole periods into [start_rad, start_rad + period_rad)."""
    return (angle_rad - start_rad) % period_rad + start_rad


def checked_boxes(
    boxes: ArrayLike,
    name: str,
    columns: Sequence[str] = BOX_COLUMNS,
    *,
    dtype: type[np.floating] = np.float64,
    allow_empty: bool = False,
    allow_wider: bool = False,
) -> Float[np.ndarray, "box column"]:
    """Return boxes as a contiguous array, after checking that values are finite and sizes positive.

    Args:
        boxes: (N, columns).
        name: Name of the boxes for error messages.
        columns: Names of the columns.
        dtype: dtype of the result.
        allow_empty: Whether a size may be 0. It must never be negative.
        allow_wider: Whether further columns are allowed, such as a velocity; they are dropped.

    Raises:
        ValueError: the shape is wrong, a value is not finite, or a size is not positive.
    """
    array = np.asarray(boxes, dtype=dtype)
    width = len(columns)
    if array.ndim != 2 or array.shape[1] < width or (array.shape[1] > width and not allow_wider):
        raise ValueError(f"{name} must have shape (N, {width}) with columns {columns}, got {array.shape}")
    array = np.ascontiguousarray(array[:, :width])
    bad = ~np.isfinite(array)
    sizes = [index for index, column in enumerate(columns) if column in _SIZES]
    bad[:, sizes] |= array[:, sizes] < 0 if allow_empty else array[:, sizes] <= 0
    if bad.any():
        row, column = np.argwhere(bad)[0]
        raise ValueError(
            f"{name}[{row}] has {columns[column]} = {array[row, column]}; values must be finite and sizes "
            f"{'>= 0' if allow_empty else '> 0'}: drop the box, or check where it comes from"
        )
    return array


def nearest_bev(boxes: Float[np.ndarray, "box 7"]) -> Float[np.ndarray, "box 4"]:
    """Axis-aligned (x_min, y_min, x_max, y_max) of each box, turned to the nearest multiple of 90 degrees.

    The arithmetic keeps the dtype of ``boxes`` and the order of operations of mmdet3d's ``nearest_bev``: float32 boxes
    give its values bit for bit.
    """
    centre, yaw = boxes[:, :2], boxes[:, 6]
    across = np.abs(yaw - np.floor(yaw / np.pi + 0.5) * np.pi) > np.pi / 4
    half_size = np.where(across[:, None], boxes[:, [4, 3]], boxes[:, [3, 4]]) / 2
    return np.concatenate([centre - half_size, centre + half_size], axis=1)


def bev_bounds(boxes: Float[np.ndarray, "box 7"]) -> Float[np.ndarray, "box 4"]:
    """Axis-aligned (x_min, y_min, x_max, y_max) around the rotated footprint of each box."""
    centre, length, width = boxes[:, :2], boxes[:, 3], boxes[:, 4]
    cos, sin = np.abs(np.cos(boxes[:, 6])), np.abs(np.sin(boxes[:, 6]))
    half_size = np.stack([length * cos + width * sin, length * sin + width * cos], axis=1) / 2
    return np.concatenate([centre - half_size, centre + half_size], axis=1)
