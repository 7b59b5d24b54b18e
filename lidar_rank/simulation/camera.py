"""The camera of KITTI's car."""

from typing import Final

import numpy as np
from jaxtyping import Float, Float32

from lidar_rank.kitti.calibration import Calibration

IMAGE_SIZE: Final = (1242, 375)
# The calibration that 6,057 of the 7,481 training frames share (recordings of 2011-09-26).
# fmt: off
_FOCAL_PX, _CENTRE_U_PX, _CENTRE_V_PX = 721.5377, 609.5593, 172.854
_PROJECTION_SHIFTS: Final = (
    (0.0, 0.0, 0.0), (-387.5744, 0.0, 0.0), (44.85728, 0.2163791, 0.002745884), (-339.5242, 2.199936, 0.002729905),
)
KITTI_CALIBRATION: Final = Calibration(
    projections=np.array([
        [[_FOCAL_PX, 0, _CENTRE_U_PX, u], [0, _FOCAL_PX, _CENTRE_V_PX, v], [0, 0, 1, w]]
        for u, v, w in _PROJECTION_SHIFTS
    ]),
    rectification=np.array([
        [0.9999239, 0.00983776, -0.007445048],
        [-0.009869795, 0.9999421, -0.004278459],
        [0.007402527, 0.004351614, 0.9999631],
    ]),
    lidar_to_reference=np.array([
        [0.007533745, -0.9999714, -0.000616602, -0.004069766],
        [0.01480249, 0.0007280733, -0.9998902, -0.07631618],
        [0.9998621, 0.00752379, 0.01480755, -0.2717806],
    ]),
    imu_to_lidar=np.array([
        [0.9999976, 0.0007553071, -0.002035826, -0.8086759],
        [-0.0007854027, 0.9998898, -0.01482298, 0.3195559],
        [0.002024406, 0.01482454, 0.9998881, -0.7997231],
    ]),
)
# fmt: on


def camera_rays(calibration: Calibration, pixels: Float[np.ndarray, "ray 2"]) -> Float32[np.ndarray, "ray 6"]:
    """Rays (origin, unit direction) in the LiDAR frame from camera 2 through pixels."""
    inverse = np.linalg.inv(calibration.projection[:, :3])
    centre = -inverse @ calibration.projection[:, 3]
    turned = calibration.camera_to_lidar_matrix[:3, :3] @ inverse
    direction = (pixels @ turned[:, :2].T + turned[:, 2]).astype(np.float32)
    direction /= np.sqrt(np.einsum("rk,rk->r", direction, direction))[:, None]
    origin = calibration.camera_to_lidar(centre[None]).astype(np.float32)
    return np.concatenate([np.broadcast_to(origin, direction.shape), direction], 1)
