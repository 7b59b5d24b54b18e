"""Directions of the pulses of the Velodyne HDL-64E on KITTI's car.

The beam angles are fitted to real KITTI scans by ``tools/studies/fit_simulation.py``.
"""

from typing import Final

import numpy as np
from jaxtyping import Float, Float32, Int

from lidar_rank.kitti.calibration import Calibration
from lidar_rank.simulation.camera import IMAGE_SIZE

HEIGHT_M: Final = 1.73
MAX_RANGE_M: Final = 80.0
FIRINGS_PER_TURN: Final = 2155
ENCODER_STEP_DEG: Final = 0.09
# The 32 lasers of the upper block are 1/3 degree apart, those of the lower block 1/2 degree. Real units deviate by
# about 0.1 degree.
# fmt: off
BEAM_ELEVATION_DEG: Final = np.array([
    1.937, 1.574, 1.305, 0.872, 0.579, 0.181, -0.089, -0.452, -0.803, -1.201, -1.494, -1.833, -2.208, -2.547, -2.874,
    -3.236, -3.539, -3.936, -4.216, -4.588, -4.914, -5.251, -5.611, -5.958, -6.329, -6.676, -6.999, -7.287, -7.679,
    -8.058, -8.310, -8.711, -9.026, -9.574, -10.063, -10.471, -10.957, -11.599, -12.115, -12.562, -13.041, -13.485,
    -14.048, -14.598, -15.189, -15.657, -16.177, -16.554, -17.187, -17.730, -18.323, -18.797, -19.320, -19.736,
    -20.223, -20.788, -21.318, -21.936, -22.438, -22.857, -23.322, -23.971, -24.507, -24.999,
])
# fmt: on
BEAM_ORIGIN_M: Final = np.interp(BEAM_ELEVATION_DEG, [-25.0, -9.0, -8.9, 1.94], [0.116, 0.126, 0.198, 0.209])


def firing_rays(
    rng: np.random.Generator, window_deg: Float[np.ndarray, "beam 2"]
) -> tuple[Float32[np.ndarray, "ray 6"], Int[np.ndarray, " ray"]]:
    """Rays of one turn in the order of KITTI's files: beam by beam from the top, counter-clockwise from azimuth 0.

    Args:
        rng: Draws the angle at which the turn begins.
        window_deg: Lowest and highest azimuth of each beam to simulate, within [-180, 180]. A beam with low >= high is
            not simulated.

    Returns:
        Origin and unit direction of each ray, and the beam of each ray.
    """
    window_deg = window_deg.astype(np.float32)
    phase = np.float32(rng.random()) + 0.618 * np.arange(len(window_deg), dtype=np.float32)[:, None]
    step_deg = 360.0 / FIRINGS_PER_TURN
    firing = np.arange(FIRINGS_PER_TURN, dtype=np.float32)
    ahead_deg = (firing * step_deg + 180) % 360 - 180
    used = window_deg[window_deg[:, 0] < window_deg[:, 1]]
    firing = firing[(ahead_deg >= used[:, 0].min() - 1) & (ahead_deg <= used[:, 1].max() + 1)]
    encoded = np.round((firing + phase % 1) * step_deg / ENCODER_STEP_DEG) * ENCODER_STEP_DEG
    azimuth = np.sort((encoded + 0.02 * phase % ENCODER_STEP_DEG) % 360, axis=1)
    signed = np.where(azimuth < 180, azimuth, azimuth - 360)
    beam, column = np.nonzero((signed >= window_deg[:, :1]) & (signed < window_deg[:, 1:]))
    azimuth_rad, elevation_rad = np.radians(azimuth[beam, column]), np.radians(BEAM_ELEVATION_DEG[beam])
    flat = np.cos(elevation_rad)
    zero = np.zeros(len(beam))
    direction = [flat * np.cos(azimuth_rad), flat * np.sin(azimuth_rad), np.sin(elevation_rad)]
    return np.stack([zero, zero, BEAM_ORIGIN_M[beam], *direction], 1).astype(np.float32), beam


FULL_TURN_DEG: Final = np.tile([-180.0, 180.0], (len(BEAM_ELEVATION_DEG), 1))


def camera_window_deg(calibration: Calibration) -> Float[np.ndarray, "beam 2"]:
    """Range of azimuths of each beam that can put a point between 2.5 m and the maximum range into the camera's image.

    Raises:
        ValueError: the camera does not look ahead, along x of the LiDAR frame, so that no beam reaches its image.
    """
    azimuth = np.arange(-60.0, 60.0, 0.5)
    distance = np.geomspace(2.5, MAX_RANGE_M, 24)
    elevation_rad = np.radians(BEAM_ELEVATION_DEG)[:, None, None]
    azimuth_rad = np.radians(azimuth)[None, :, None]
    points = np.stack(
        np.broadcast_arrays(
            distance * np.cos(elevation_rad) * np.cos(azimuth_rad),
            distance * np.cos(elevation_rad) * np.sin(azimuth_rad),
            distance * np.sin(elevation_rad) + BEAM_ORIGIN_M[:, None, None],
        ),
        -1,
    )
    inside = calibration.in_image(points.reshape(-1, 3), IMAGE_SIZE).reshape(points.shape[:3]).any(-1)
    if not inside.any():
        viewing = calibration.camera_to_lidar_matrix[:3, 2].round(2).tolist()
        raise ValueError(
            "no beam of the scanner falls into the image: the camera must look along x of the LiDAR frame, but it looks"
            f" along {viewing}; check the calibration"
        )
    low = np.where(inside, azimuth - 0.6, np.inf).min(1)
    high = np.where(inside, azimuth + 0.6, -np.inf).max(1)
    return np.stack([low, high], 1)
