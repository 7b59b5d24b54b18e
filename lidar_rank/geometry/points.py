"""Which points lie in which upright box."""

from numpy import ndarray

from lidar_rank.geometry.boxes import checked_boxes
from lidar_rank.kernels import points_in_boxes as kernel
from lidar_rank.shapes import Bool, Float, Shaped


def points_in_boxes(
    points_m: Float[ndarray, "point features"], boxes: Shaped[ndarray, "box 7"]
) -> Bool[ndarray, "box point"]:
    """Mark the points strictly inside each box.

    Args:
        points_m: x, y, z in metres; further features are ignored.
        boxes: (x, y, z_bottom, length, width, height, yaw) in metres and radians, in the frame of the points.

    Returns:
        One row per box. Points on a face are outside, and so is every point of a box without volume.

    Raises:
        ValueError: the number of columns is wrong, a value of a box is not finite, or a size is negative.

    Example:
        >>> import numpy as np
        >>> points_in_boxes(np.array([[1.9, 0.0, 0.5], [0.0, 1.9, 0.5]]), np.array([[0, 0, 0, 4, 2, 1.5, 0.0]]))
        array([[ True, False]])
    """
    if points_m.ndim != 2 or points_m.shape[1] < 3:
        raise ValueError(f"points_m must have shape (P, 3 or more), got {points_m.shape}")
    return kernel.points_in_boxes(points_m, checked_boxes(boxes, "boxes", allow_empty=True))
