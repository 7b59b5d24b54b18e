"""The rules of the KITTI object benchmark: which objects and detections count in the evaluation of a class.

Source: Geiger et al., "Are we ready for autonomous driving? The KITTI vision benchmark suite", CVPR 2012, and the
development kit of its object benchmark.
"""

from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np
from numpy import ndarray

from lidar_rank.kernels.kitti_matching import IGNORED, NO_ROLE, VALID
from lidar_rank.kitti.difficulty import DIFFICULTIES, within_difficulty
from lidar_rank.kitti.labels import KittiObjects
from lidar_rank.shapes import Bool, Int8

METRICS: Final = ("bbox", "bev", "3d")
MIN_OVERLAP: Final = {"Car": 0.7, "Pedestrian": 0.5, "Cyclist": 0.5}
NEIGHBOURS: Final = {"car": "van", "pedestrian": "person_sitting"}
UNKNOWN_ALPHA_RAD: Final = -10.0


def thresholds(
    given: Mapping[str, float] | float | None, default: Mapping[str, float], classes: Sequence[str]
) -> Mapping[str, float]:
    """IoU thresholds by class.

    Args:
        given: One for all classes, or by class; None for the default alone.
        default: Of the classes that are not given.
        classes: The classes that are evaluated.
    """
    if isinstance(given, int | float):
        return dict.fromkeys(classes, float(given))
    return {**default, **(given or {})}


def is_named(table: KittiObjects, class_name: str) -> Bool[ndarray, " object"]:
    """Which objects are of a class; upper and lower case are the same."""
    spellings = [name for name in set(table.name.tolist()) if name.lower() == class_name.lower()]
    return np.isin(table.name, spellings)


def object_roles(
    objects: KittiObjects, class_name: str, *, drop_at_min_height: bool
) -> Int8[ndarray, "difficulty object"]:
    """Say which objects are to be found (VALID), count neither as found nor as missed (IGNORED), or play no role.

    Args:
        objects: Ground truth.
        class_name: Objects of its neighbour class are ignored: ``Van`` for ``Car``, ``Person_sitting`` for
            ``Pedestrian``.
        drop_at_min_height: Whether an object of exactly the minimum height is ignored too.

    Returns:
        One row for each of ``DIFFICULTIES``; objects beyond its limits are ignored.
    """
    within = within_difficulty(
        objects.bbox_px, objects.occlusion, objects.truncation, drop_at_min_height=drop_at_min_height
    )
    role = np.where(is_named(objects, class_name), np.where(within, VALID, IGNORED), NO_ROLE).astype(np.int8)
    if class_name.lower() in NEIGHBOURS:
        role[:, is_named(objects, NEIGHBOURS[class_name.lower()])] = IGNORED
    return role


def detection_roles(detections: KittiObjects, class_name: str) -> Int8[ndarray, "difficulty detection"]:
    """Say which detections are right or wrong (VALID), too low in the image to be either (IGNORED), or play no role.

    As in the benchmark's own program, a low detection is IGNORED whatever its class: it may be matched with an object
    of ``class_name``, which then does not count as missed.

    Returns:
        One row for each of ``DIFFICULTIES``.
    """
    height_px = np.abs(detections.bbox_px[:, 3] - detections.bbox_px[:, 1])
    role = np.where(is_named(detections, class_name), VALID, NO_ROLE)
    min_height_px = np.array([[difficulty.min_height_px] for difficulty in DIFFICULTIES])
    return np.where(height_px < min_height_px, IGNORED, role).astype(np.int8)


def has_orientation(detections: KittiObjects) -> bool:
    """Whether each detection has an observation angle; the benchmark computes AOS only then."""
    return not (detections.alpha_rad == UNKNOWN_ALPHA_RAD).any()
