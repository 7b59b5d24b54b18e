"""From the frame of any upright sensor to that of KITTI's LiDAR, in which the networks are trained, and back."""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy import ndarray

from lidar_rank.geometry.boxes import wrap_angle
from lidar_rank.shapes import Float, Float32

KITTI_HEIGHT_M: Final = 1.73  # of the LiDAR above the road


@dataclass(frozen=True)
class SensorFrame:
    """How a sensor is mounted.

    Attributes:
        height_m: Height of the sensor above the road.
        rotate_z_rad: Counter-clockwise turn, seen from above, that brings the vehicle's forward direction onto x.
        intensity_scale: Factor that brings the intensities to the range 0 to 1, such as 1 / 255.

    Raises:
        ValueError: a number is not finite, or a scale or height is not positive.
    """

    height_m: float = KITTI_HEIGHT_M
    rotate_z_rad: float = 0.0
    intensity_scale: float = 1.0

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if not np.isfinite(value) or (name != "rotate_z_rad" and value <= 0):
                raise ValueError(f"{name} must be a finite number{' above 0' * (name != 'rotate_z_rad')}, got {value}")

    def points_to_kitti(self, points: Float32[ndarray, "point 4"]) -> Float32[ndarray, "point 4"]:
        """Move points (x, y, z, intensity) from the sensor's frame to that of KITTI's LiDAR."""
        moved = points.copy()
        moved[:, :2] = points[:, :2] @ _rotation(self.rotate_z_rad).T
        moved[:, 2] += self.height_m - KITTI_HEIGHT_M
        moved[:, 3] *= self.intensity_scale
        return moved

    def boxes_to_kitti(self, lidar_boxes: Float[ndarray, "box 7"]) -> Float[ndarray, "box 7"]:
        """Move boxes (x, y, z_bottom, length, width, height, yaw) from the sensor's frame to that of KITTI's LiDAR."""
        moved = lidar_boxes.copy()
        moved[:, :2] = lidar_boxes[:, :2] @ _rotation(self.rotate_z_rad).T
        moved[:, 2] += self.height_m - KITTI_HEIGHT_M
        moved[:, 6] = wrap_angle(lidar_boxes[:, 6] + self.rotate_z_rad)
        return moved

    def boxes_from_kitti(self, lidar_boxes: Float[ndarray, "box 7"]) -> Float[ndarray, "box 7"]:
        """Move boxes (x, y, z_bottom, length, width, height, yaw) from the frame of KITTI's LiDAR to the sensor's."""
        moved = lidar_boxes.copy()
        moved[:, :2] = lidar_boxes[:, :2] @ _rotation(self.rotate_z_rad)
        moved[:, 2] -= self.height_m - KITTI_HEIGHT_M
        moved[:, 6] = wrap_angle(lidar_boxes[:, 6] - self.rotate_z_rad)
        return moved


def _rotation(angle_rad: float) -> Float[ndarray, "2 2"]:
    cos, sin = np.cos(angle_rad), np.sin(angle_rad)
    return np.array([[cos, -sin], [sin, cos]])
