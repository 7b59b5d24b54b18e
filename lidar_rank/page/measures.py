"""What a run's boxes are worth: precision over recall, AP by distance, and what a better ranking could still win."""

from dataclasses import dataclass
from itertools import pairwise
from typing import Final

import numpy as np
from numpy import ndarray

from lidar_rank.evaluation.average_precision import PrecisionCurve, all_point_ap, average, precision_curve
from lidar_rank.evaluation.distance import in_band
from lidar_rank.evaluation.matching import Matcher
from lidar_rank.evaluation.overlaps import Overlaps, compute_overlaps
from lidar_rank.evaluation.rules import METRICS, detection_roles, is_named, object_roles
from lidar_rank.kernels.kitti_matching import IGNORED, NO_ROLE, VALID
from lidar_rank.kitti.difficulty import DIFFICULTIES
from lidar_rank.kitti.range import BEYOND_EVERY_DIFFICULTY
from lidar_rank.page.run import Results
from lidar_rank.shapes import Bool, Float64, Int8

MODERATE: Final = [difficulty.name for difficulty in DIFFICULTIES].index("moderate")
HARD: Final = len(DIFFICULTIES) - 1


@dataclass(frozen=True, eq=False)
class BandAP:
    """AP of the objects in a band of distances, by the rule of :func:`lidar_rank.evaluation.evaluate_by_distance`.

    Attributes:
        near_m: Objects at this distance from the camera or farther count,
        far_m: if they are nearer than this.
        num_objects: How many there are.
        ap_percent: R40, at recalls that are reached exactly (``sampling="recall"``), because there may be few objects.
    """

    near_m: float
    far_m: float
    num_objects: int
    ap_percent: float


@dataclass(frozen=True, eq=False)
class ClassMeasures:
    """Measures of one class: for moderate difficulty where there are difficulties, else of all objects that count.

    Attributes:
        curve: Precision over recall.
        ap_percent: R40.
        best_ap_percent: R40 of the same boxes if they were ranked by their true overlap.
        by_distance: In 3D alone.
    """

    curve: PrecisionCurve
    ap_percent: float
    best_ap_percent: float
    by_distance: tuple[BandAP, ...]


def measure(results: Results) -> dict[str, ClassMeasures]:
    """Measure each class of a run that has frames; the metric is 3D IoU for scans and IoU for images."""
    overlaps = compute_overlaps(results.objects, results.detections)
    return {name: _measure_class(results, overlaps, name) for name in results.min_overlap}


def measure_every_recall(results: Results, class_name: str) -> float:
    """AP of a class in percent at every recall, see :func:`.all_point_ap`.

    Each box that finds an object is a score threshold of its own, so that this takes longer than :func:`measure`.
    """
    overlaps = compute_overlaps(results.objects, results.detections)
    of_objects, of_detections = roles(results, class_name, MODERATE)
    overlap, scores = results.min_overlap[class_name], results.detections.score
    return all_point_ap(Matcher(overlaps, _metric(results), overlap, of_objects, of_detections, scores))


def roles(
    results: Results, class_name: str, difficulty: int
) -> tuple[Int8[ndarray, " object"], Int8[ndarray, " detection"]]:
    """What objects and detections are in the evaluation of a class, see :mod:`lidar_rank.evaluation.rules`.

    Without KITTI's difficulties every object of the class is to be found, unless it lies outside the range of the
    detector, and every detection of the class is right or wrong.
    """
    if results.has_difficulties:
        of_objects = object_roles(results.objects, class_name, drop_at_min_height=False)[difficulty]
        return of_objects, detection_roles(results.detections, class_name)[difficulty]
    in_range = results.objects.occlusion < BEYOND_EVERY_DIFFICULTY
    of_objects = np.where(is_named(results.objects, class_name), np.where(in_range, VALID, IGNORED), NO_ROLE)
    of_detections = np.where(is_named(results.detections, class_name), VALID, NO_ROLE)
    return of_objects.astype(np.int8), of_detections.astype(np.int8)


def _metric(results: Results) -> int:
    return METRICS.index("3d" if results.is_3d else "bbox")


def _measure_class(results: Results, overlaps: Overlaps, class_name: str) -> ClassMeasures:
    of_objects, of_detections = roles(results, class_name, MODERATE)
    metric, overlap, scores = _metric(results), results.min_overlap[class_name], results.detections.score

    def curve(
        object_role: Int8[ndarray, " object"],
        scores: Float64[ndarray, " detection"],
        sampling: str,
        can_be_false: Bool[ndarray, " detection"] | None = None,
    ) -> PrecisionCurve:
        matcher = Matcher(overlaps, metric, overlap, object_role, of_detections, scores, can_be_false)
        return precision_curve(matcher, sampling)

    by_distance = []
    for near_m, far_m in pairwise((*results.bands_m, np.inf)) if results.is_3d else ():
        outside = (of_objects == VALID) & ~in_band(results.objects, near_m, far_m)
        in_reach = np.where(outside, IGNORED, of_objects).astype(np.int8)
        within = curve(in_reach, scores, "recall", in_band(results.detections, near_m, far_m))
        by_distance.append(BandAP(near_m, far_m, within.num_objects, _ap(within)))
    own = curve(of_objects, scores, results.sampling)
    true_overlap = _true_overlap(overlaps, metric, of_objects != NO_ROLE, len(results.detections))
    best = curve(of_objects, true_overlap, results.sampling)
    return ClassMeasures(own, _ap(own), _ap(best), tuple(by_distance))


def _true_overlap(
    overlaps: Overlaps, metric: int, of_class: Bool[ndarray, " object"], num_detections: int
) -> Float64[ndarray, " detection"]:
    """The largest IoU of each detection with an object of the class."""
    best = np.zeros(num_detections)
    pairs = of_class[overlaps.pair_object]
    np.maximum.at(best, overlaps.pair_detection[pairs], overlaps.iou[pairs, metric])
    return best


def _ap(curve: PrecisionCurve) -> float:
    return average(curve.precision)["R40"]
