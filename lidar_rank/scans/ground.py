"""The road around a sensor, from the points of one scan."""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy import ndarray

from lidar_rank.shapes import Float

MIN_RANGE_M, MAX_RANGE_M = 3.0, 10.0
CELL_M: Final = 1.0
MIN_POINTS_IN_CELL: Final = 5
MIN_CELLS: Final = 10
LOW_QUANTILE: Final = 0.1  # a cell's lowest points are on the road, or beneath it by noise
SOFTNESS_M: Final = 0.1
STEPS: Final = 40


@dataclass(frozen=True)
class Ground:
    """A plane through the road near the sensor.

    Attributes:
        height_m: Of the sensor above it; negative if the plane is above the sensor.
        tilt_deg: Angle between the plane and the x-y plane.
        share: Share of the points between 3 and 10 m that lie within 10 cm of it.
    """

    height_m: float
    tilt_deg: float
    share: float


def find_ground(points_m: Float[ndarray, "point columns"]) -> Ground | None:
    """Fit a plane to the low points of cells around the sensor.

    The fit minimises the logarithm of the squared distances (a Cauchy likelihood), by reweighted least squares: cells
    without road count little.

    Args:
        points_m: x, y, z, ... with z up.

    Returns:
        The plane, or None if fewer than 10 cells of a square metre hold points, or all these points lie on a line.
    """
    range_m = np.hypot(points_m[:, 0], points_m[:, 1])
    near = points_m[(range_m > MIN_RANGE_M) & (range_m < MAX_RANGE_M), :3].astype(np.float64)
    low = _low_points(near)
    if len(low) < MIN_CELLS:
        return None
    columns = np.column_stack([low[:, :2], np.ones(len(low))])
    weight = np.ones(len(low))
    plane = np.zeros(3)
    for _ in range(STEPS):
        root = np.sqrt(weight)
        plane, _, rank, _ = np.linalg.lstsq(columns * root[:, None], low[:, 2] * root, rcond=None)
        if rank < 3:
            return None
        weight = 1 / (1 + ((low[:, 2] - columns @ plane) / SOFTNESS_M) ** 2)
    slope = float(np.hypot(plane[0], plane[1]))
    distance = near[:, 2] - np.column_stack([near[:, :2], np.ones(len(near))]) @ plane
    return Ground(
        height_m=float(-plane[2] / np.hypot(1, slope)),
        tilt_deg=float(np.degrees(np.arctan(slope))),
        share=float((np.abs(distance) < SOFTNESS_M).mean()),
    )


def _low_points(near: Float[ndarray, "point 3"]) -> Float[ndarray, "cell 3"]:
    """One of the lowest points of each cell that holds enough of them."""
    if not len(near):
        return near
    cell = np.floor(near[:, :2] / CELL_M).astype(np.int64)
    key = cell[:, 0] * 1000 + cell[:, 1]
    order = np.lexsort((near[:, 2], key))
    first = np.flatnonzero(np.diff(key[order], prepend=key[order[0]] - 1))
    count = np.diff(first, append=len(order))
    picked = first + (count * LOW_QUANTILE).astype(np.int64)
    return near[order[picked[count >= MIN_POINTS_IN_CELL]]]
