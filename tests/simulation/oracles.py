"""Geometry for these tests, independent of the package."""

import numpy as np
from shapely import Polygon
from shapely.affinity import rotate, translate
from shapely.geometry import box as shapely_box

from lidar_rank.simulation.beams import BEAM_ELEVATION_DEG, BEAM_ORIGIN_M, FIRINGS_PER_TURN


def polygon(rectangle: tuple[float, ...]) -> Polygon:
    x, y, length, width, yaw = rectangle
    flat = shapely_box(-length / 2, -width / 2, length / 2, width / 2)
    return translate(rotate(flat, yaw, origin=(0, 0), use_radians=True), x, y)


def in_box(points: np.ndarray, box: np.ndarray, margin_m: float) -> np.ndarray:
    """Whether points lie in a box that is widened on all sides, independent of the package."""
    offset = points[:, :3] - box[:3]
    cos, sin = np.cos(box[6]), np.sin(box[6])
    along, across = offset[:, 0] * cos + offset[:, 1] * sin, offset[:, 1] * cos - offset[:, 0] * sin
    length, width, height = box[3:6] / [2, 2, 1] + margin_m
    return (abs(along) <= length) & (abs(across) <= width) & (offset[:, 2] >= -margin_m) & (offset[:, 2] <= height)


def rays_into(box: np.ndarray) -> int:
    """Number of the sensor's rays that meet a box, by a slab test of all firings of a turn, beam by beam."""
    azimuth = np.arange(FIRINGS_PER_TURN) * 2 * np.pi / FIRINGS_PER_TURN
    count = 0
    for elevation, height in zip(np.radians(BEAM_ELEVATION_DEG), BEAM_ORIGIN_M, strict=True):
        direction = np.stack([np.cos(azimuth - box[6]), np.sin(azimuth - box[6]), 0 * azimuth + np.tan(elevation)])
        cos, sin = np.cos(box[6]), np.sin(box[6])
        start = np.array([-box[0] * cos - box[1] * sin, box[0] * sin - box[1] * cos, height - box[2]])
        low, high = np.array([-box[3] / 2, -box[4] / 2, 0]), np.array([box[3] / 2, box[4] / 2, box[5]])
        with np.errstate(divide="ignore"):
            one, other = ((limit - start)[:, None] / direction for limit in (low, high))
        enter, leave = np.minimum(one, other).max(0), np.maximum(one, other).min(0)
        count += int(((enter < leave) & (leave > 0)).sum())
    return count
