"""Average precision by distance, for scans without a camera, of whose image KITTI's difficulty levels are made.

Matching, precision and recall are those of the KITTI object benchmark; only what counts differs. In a band of distances
the objects of the band are to be found, and false detections count if they lie in it. A detection that finds an object
counts where the object is, so that a pair at the border of two bands counts once. Every class stands for itself, and
there are no image boxes, so that there is neither image AP nor AOS.
"""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Final

import numpy as np
from numpy import ndarray

from lidar_rank.evaluation.kitti import KittiResult, evaluate_levels
from lidar_rank.evaluation.matching import Matcher
from lidar_rank.evaluation.overlaps import Overlaps
from lidar_rank.evaluation.rules import METRICS, MIN_OVERLAP, is_named, thresholds
from lidar_rank.kernels.kitti_matching import IGNORED, NO_ROLE, VALID
from lidar_rank.kitti.classes import DONT_CARE
from lidar_rank.kitti.labels import KittiObjects
from lidar_rank.kitti.range import BEYOND_EVERY_DIFFICULTY
from lidar_rank.shapes import Bool, Float64

BAND_EDGES_M: Final = (0.0, 30.0, 50.0)
BAND_METRICS: Final = ("bev", "3d")
OTHER_MIN_OVERLAP: Final = 0.5
ALL_BANDS: Final = "all"


def default_min_overlap(classes: Sequence[str]) -> dict[str, float]:
    """IoU threshold of each class: KITTI's for its three, 0.5 for others."""
    official = {name.lower(): overlap for name, overlap in MIN_OVERLAP.items()}
    return {name: official.get(name.lower(), OTHER_MIN_OVERLAP) for name in classes}


def evaluate_by_distance(
    ground_truth: KittiObjects,
    detections: KittiObjects,
    *,
    classes: Sequence[str] | None = None,
    min_overlap: Mapping[str, float] | float | None = None,
    extra_overlaps: Sequence[float] = (),
    edges_m: Sequence[float] = BAND_EDGES_M,
    sampling: str = "recall",
) -> KittiResult:
    """Evaluate detections from above and in 3D in bands of distance.

    Args:
        ground_truth: All objects of the frames.
        detections: Detections in the same frames, in the same order.
        classes: By default those of the ground truth.
        min_overlap: IoU that a detection must exceed, for all classes or by class; for others it is that of
            ``default_min_overlap``.
        extra_overlaps: Further IoU thresholds at which every class is evaluated too.
        edges_m: Where bands begin, in metres on the ground from the origin of the camera frame, which is the sensor
            where there is no camera; the last band is open.
        sampling: ``"recall"``, or ``"official"``, which bands with fewer than 41 objects cannot reach 100 with.

    Returns:
        The levels of the result are ``"all"``, from the first edge on, and then the bands.

    Raises:
        ValueError: the edges do not rise from 0 or more, or as of :func:`lidar_rank.evaluation.evaluate_kitti`.
    """
    bands = _bands(edges_m)
    if classes is None:
        classes = sorted({str(name) for name in ground_truth.name} - {DONT_CARE})
    object_band = [in_band(ground_truth, *band) for band in bands.values()]
    detection_band = [in_band(detections, *band) for band in bands.values()]

    def match(overlaps: Overlaps, class_name: str, min_iou: float) -> dict[tuple[str, str], Matcher]:
        is_object, is_detection = is_named(ground_truth, class_name), is_named(detections, class_name)
        counts = ground_truth.occlusion < BEYOND_EVERY_DIFFICULTY
        detection_role = np.where(is_detection, VALID, NO_ROLE).astype(np.int8)
        return {
            (level, metric): Matcher(
                overlaps,
                METRICS.index(metric),
                min_iou,
                np.where(is_object, np.where(objects & counts, VALID, IGNORED), NO_ROLE).astype(np.int8),
                detection_role,
                detections.score,
                can_be_false=found,
            )
            for level, objects, found in zip(bands, object_band, detection_band, strict=True)
            for metric in BAND_METRICS
        }

    return evaluate_levels(
        ground_truth,
        detections,
        match,
        levels=tuple(bands),
        metrics=BAND_METRICS,
        classes=classes,
        min_overlap=thresholds(min_overlap, default_min_overlap(classes), classes),
        extra_overlaps=extra_overlaps,
        sampling=sampling,
    )


def check_edges(edges_m: Sequence[float]) -> None:
    """Check where bands begin.

    Raises:
        ValueError: the edges do not rise from 0 or more.
    """
    edges = [float(edge) for edge in edges_m]
    if not edges or not np.isfinite(edges).all() or edges[0] < 0 or (np.diff(edges) <= 0).any():
        raise ValueError(f"the edges of bands must be metres that rise from 0 or more, such as 0 30 50, got {edges}")


def _bands(edges_m: Sequence[float]) -> dict[str, tuple[float, float]]:
    """Limits of all bands by their names."""
    check_edges(edges_m)
    edges = [float(edge) for edge in edges_m]
    bands = {f"{low:g}-{high:g}m": (low, high) for low, high in pairwise(edges)}
    return {ALL_BANDS: (edges[0], np.inf), **bands, f"{edges[-1]:g}m+": (edges[-1], np.inf)}


def in_band(table: KittiObjects, low_m: float, high_m: float) -> Bool[ndarray, " object"]:
    """Whether each object is at the lower limit or farther, and nearer than the upper one."""
    distance_m: Float64[ndarray, " object"] = np.hypot(table.location_m[:, 0], table.location_m[:, 2])
    return (distance_m >= low_m) & (distance_m < high_m)
