"""Ground truth for detectors that cover only a part of the scene."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np

from lidar_rank.kitti.calibration import read_calibration
from lidar_rank.kitti.labels import KittiObjects

# KITTI has no such occlusion level: these objects count neither as found nor as missed at any difficulty.
BEYOND_EVERY_DIFFICULTY: Final = 4


def ignore_outside_range(objects: KittiObjects, calib_dir: Path, range_m: Sequence[float]) -> KittiObjects:
    """Let the evaluation ignore objects outside the range of a detector.

    Args:
        objects: Ground truth.
        calib_dir: Folder with the calibration of every frame.
        range_m: ``(x_min, y_min, z_min, x_max, y_max, z_max)`` in the LiDAR frame; objects whose centre lies outside,
            seen from above, are ignored.

    Returns:
        The same objects; those outside have an occlusion level that is ignored at every difficulty.

    Raises:
        FileNotFoundError: a frame has no calibration.
        ValueError: the range is not six finite numbers, or a minimum is not below its maximum.
    """
    limits_m = np.array(range_m, dtype=np.float64)
    if limits_m.shape != (6,) or not np.isfinite(limits_m).all() or (limits_m[:3] >= limits_m[3:]).any():
        raise ValueError(f"the range must be x, y, z minimum and then x, y, z maximum in metres, got {list(range_m)}")
    low_m, high_m = np.array(range_m[:2]), np.array(range_m[3:5])
    outside = np.zeros(len(objects), dtype=bool)
    for frame, frame_id in enumerate(objects.frame_ids):
        rows = slice(objects.frame_start[frame], objects.frame_start[frame + 1])
        calibration = read_calibration(calib_dir / f"{frame_id}.txt")
        position_m = calibration.camera_to_lidar(objects.location_m[rows])[:, :2]
        outside[rows] = ((position_m < low_m) | (position_m >= high_m)).any(axis=1)
    return dataclasses.replace(objects, occlusion=np.where(outside, BEYOND_EVERY_DIFFICULTY, objects.occlusion))


def describe_range(range_m: Sequence[float] | None) -> str:
    """Which objects count in an evaluation within a range, in words; empty where all do."""
    if range_m is None:
        return ""
    x_min, y_min, _, x_max, y_max, _ = range_m
    return (
        f"those with x from {x_min:g} to {x_max:g} m and y from {y_min:g} to {y_max:g} m; others count neither as found"
        " nor as missed"
    )
