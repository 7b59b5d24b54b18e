"""The rules of the KITTI object benchmark: classes, difficulties, and who counts in which.

Source: Geiger et al., "Are we ready for autonomous driving? The KITTI vision benchmark suite", CVPR 2012, and the
development kit of its object benchmark.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Bool, Float, Int, Int8, Shaped
from numpy import ndarray

from lidar_rank.kernels.kitti_matching import IGNORED, NO_ROLE, VALID

METRICS: Final = ("bbox", "bev", "3d")
MIN_OVERLAP: Final = {"Car": 0.7, "Pedestrian": 0.5, "Cyclist": 0.5}
NEIGHBOURS: Final = {"car": "van", "pedestrian": "person_sitting"}
UNKNOWN_ALPHA_RAD: Final = -10.0


@runtime_checkable
class ObjectTable(Protocol):
    """Objects or detections of many frames, one array per column; ``datasets.KittiObjects`` is one."""

    @property
    def frame_ids(self) -> Sequence[str]:
        """Name of each frame."""

    @property
    def frame_start(self) -> Int[ndarray, " bound"]:
        """Where the objects of each frame begin, and after the last one where they end."""

    @property
    def name(self) -> Shaped[ndarray, " object"]:
        """Type, in any case."""

    @property
    def truncation(self) -> Float[ndarray, " object"]:
        """Share outside the image; read of ground truth only."""

    @property
    def occlusion(self) -> Float[ndarray, " object"]:
        """0 to 3; read of ground truth only."""

    @property
    def alpha_rad(self) -> Float[ndarray, " object"]:
        """Observation angle, -10 where unknown."""

    @property
    def bbox_px(self) -> Float[ndarray, "object 4"]:
        """Left, top, right, bottom."""

    @property
    def size_m(self) -> Float[ndarray, "object 3"]:
        """Height, width, length."""

    @property
    def location_m(self) -> Float[ndarray, "object 3"]:
        """Centre of the bottom face in the camera frame."""

    @property
    def yaw_rad(self) -> Float[ndarray, " object"]:
        """Rotation about the camera's y axis."""

    @property
    def score(self) -> Float[ndarray, " object"]:
        """Read of detections only."""


@dataclass(frozen=True)
class Difficulty:
    """An object harder than this is ignored: neither a hit nor a miss.

    Attributes:
        name: ``"easy"``, ``"moderate"`` or ``"hard"``.
        min_height_px: Objects and detections with a lower image box are ignored.
        max_occlusion: 0 visible, 1 partly, 2 largely occluded.
        max_truncation: Share outside the image.
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


def is_named(table: ObjectTable, class_name: str) -> Bool[ndarray, " object"]:
    """Which objects are of a class; upper and lower case are the same."""
    spellings = [name for name in set(table.name.tolist()) if name.lower() == class_name.lower()]
    return np.isin(table.name, spellings)


def object_roles(
    objects: ObjectTable, class_name: str, *, drop_at_min_height: bool
) -> Int8[ndarray, "difficulty object"]:
    """VALID objects are to be found, IGNORED ones may be found without gain or loss, the others play no role.

    Args:
        objects: Ground truth.
        class_name: Objects of its neighbour class are ignored: ``Van`` for ``Car``, ``Person_sitting`` for
            ``Pedestrian``.
        drop_at_min_height: Whether an object of exactly the minimum height is ignored too.

    Returns:
        One row for each of ``DIFFICULTIES``; objects beyond it are ignored.
    """
    height_px = objects.bbox_px[:, 3] - objects.bbox_px[:, 1]
    role = np.full((len(DIFFICULTIES), len(objects.name)), NO_ROLE, dtype=np.int8)
    role[:, is_named(objects, class_name)] = VALID
    for row, difficulty in zip(role, DIFFICULTIES, strict=True):
        too_hard = (
            (objects.occlusion > difficulty.max_occlusion)
            | (objects.truncation > difficulty.max_truncation)
            | (height_px < difficulty.min_height_px)
            | (drop_at_min_height & (height_px == difficulty.min_height_px))
        )
        row[too_hard & (row == VALID)] = IGNORED
    if class_name.lower() in NEIGHBOURS:
        role[:, is_named(objects, NEIGHBOURS[class_name.lower()])] = IGNORED
    return role


def detection_roles(detections: ObjectTable, class_name: str) -> Int8[ndarray, "difficulty detection"]:
    """VALID detections are right or wrong, IGNORED ones are too low to be either, the others play no role.

    As in the benchmark's own program, a low detection is IGNORED whatever its class: it may be matched with an object
    of ``class_name``, which then is no miss.

    Returns:
        One row for each of ``DIFFICULTIES``.
    """
    height_px = np.abs(detections.bbox_px[:, 3] - detections.bbox_px[:, 1])
    role = np.where(is_named(detections, class_name), VALID, NO_ROLE)
    min_height_px = np.array([[difficulty.min_height_px] for difficulty in DIFFICULTIES])
    return np.where(height_px < min_height_px, IGNORED, role).astype(np.int8)


def has_orientation(detections: ObjectTable) -> bool:
    """Whether each detection has an observation angle; the benchmark computes AOS only then."""
    return not (detections.alpha_rad == UNKNOWN_ALPHA_RAD).any()
