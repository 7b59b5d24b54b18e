"""Difficulty levels of the KITTI object benchmark: which labelled objects count as easy, moderate and hard.

Source: Geiger et al., "Are we ready for autonomous driving? The KITTI vision benchmark suite", CVPR 2012, and the
development kit of its object benchmark.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy import ndarray

from lidar_rank.shapes import Bool, Float, Int


@dataclass(frozen=True)
class Difficulty:
    """Limits of one level; an object beyond them does not count in it.

    Attributes:
        name: ``"easy"``, ``"moderate"`` or ``"hard"``.
        min_height_px: Height of the smallest image box.
        max_occlusion: 0 visible, 1 partly, 2 largely occluded.
        max_truncation: Share of the object outside the image.
    """

    name: str
    min_height_px: float
    max_occlusion: int
    max_truncation: float


DIFFICULTIES: Final = (
    Difficulty("easy", min_height_px=40.0, max_occlusion=0, max_truncation=0.15),
    Difficulty("moderate", min_height_px=25.0, max_occlusion=1, max_truncation=0.30),
    Difficulty("hard", min_height_px=25.0, max_occlusion=2, max_truncation=0.50),
)


def within_difficulty(
    bbox_px: Float[ndarray, "object 4"],
    occlusion: Float[ndarray, " object"],
    truncation: Float[ndarray, " object"],
    *,
    drop_at_min_height: bool,
) -> Bool[ndarray, "difficulty object"]:
    """Say which labelled objects are within the limits of each level.

    Args:
        bbox_px: Left, top, right, bottom in the image.
        occlusion: 0 visible, 1 partly, 2 largely occluded, 3 unknown.
        truncation: Share of the object outside the image, 0 to 1.
        drop_at_min_height: Whether an object of exactly the minimum height is beyond the limits. The benchmark's
            program kept it when most published results were made; its later versions, OpenPCDet and mmdet3d do not.

    Returns:
        One row for each of :data:`DIFFICULTIES`.
    """
    height_px = bbox_px[:, 3] - bbox_px[:, 1]
    high_enough = np.greater if drop_at_min_height else np.greater_equal
    rows = [
        high_enough(height_px, limit.min_height_px)
        & (occlusion <= limit.max_occlusion)
        & (truncation <= limit.max_truncation)
        for limit in DIFFICULTIES
    ]
    return np.stack(rows)


def difficulty_index(
    bbox_px: Float[ndarray, "object 4"], occlusion: Float[ndarray, " object"], truncation: Float[ndarray, " object"]
) -> Int[ndarray, " object"]:
    """Index of the easiest level that each object counts in: 0 easy, 1 moderate, 2 hard, -1 none.

    An object of exactly the minimum height does not count, as in the annotation files that mmdet3d makes.

    Args:
        bbox_px: As in :func:`within_difficulty`.
        occlusion: As in :func:`within_difficulty`.
        truncation: As in :func:`within_difficulty`.
    """
    within = within_difficulty(bbox_px, occlusion, truncation, drop_at_min_height=True)
    return np.where(within.any(axis=0), within.argmax(axis=0), -1)
