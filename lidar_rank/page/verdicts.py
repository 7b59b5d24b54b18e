"""Which boxes of a run are found objects, false, or ignored, at every threshold on the score at once."""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy import ndarray

from lidar_rank.evaluation.overlaps import Overlaps, compute_overlaps
from lidar_rank.evaluation.rules import METRICS
from lidar_rank.kernels.kitti_matching import IGNORED, NO_ROLE, VALID
from lidar_rank.page.measures import HARD, roles
from lidar_rank.page.run import Results
from lidar_rank.shapes import Bool, Float64, Int8, Int64

NOTHING: Final = -1
FOUND, FALSE, NOT_COUNTED = 0, 1, 2


@dataclass(frozen=True, eq=False)
class Verdicts:
    """Verdicts on the boxes of a run; what is ignored is that of KITTI's hard difficulty.

    Attributes:
        is_shown: Whether an object is of an evaluated class, or of its neighbour class.
        is_counted: Whether an object is found or missed; others count as neither.
        verdict: FOUND, FALSE or NOT_COUNTED of each detection.
        object_of: Index of the object that a detection is matched with, or -1.
        overlap: Largest IoU of each detection with an object of its class.
    """

    is_shown: Bool[ndarray, " object"]
    is_counted: Bool[ndarray, " object"]
    verdict: Int8[ndarray, " detection"]
    object_of: Int64[ndarray, " detection"]
    overlap: Float64[ndarray, " detection"]


def judge(results: Results) -> Verdicts:
    """Match detections with objects of their class, the best detection first, each with the overlap that is largest.

    Because better detections choose first, the matches at a threshold on the score are those among the boxes above it.
    """
    overlaps = compute_overlaps(results.objects, results.detections)
    metric = METRICS.index("3d" if results.is_3d else "bbox")
    num_objects, num_detections = len(results.objects), len(results.detections)
    # Regions that an evaluation of images ignores are drawn; those of KITTI's scans have no 3D box.
    is_shown = np.full(num_objects, not results.is_3d)
    is_counted = np.zeros(num_objects, dtype=bool)
    verdict = np.full(num_detections, NOT_COUNTED, dtype=np.int8)
    object_of = np.full(num_detections, NOTHING)
    overlap = np.zeros(num_detections)
    is_taken = np.zeros(num_objects, dtype=bool)
    for class_name, min_overlap in results.min_overlap.items():
        of_objects, of_detections = roles(results, class_name, HARD)
        named = np.char.lower(results.detections.name) == class_name.lower()
        is_shown |= of_objects != NO_ROLE
        is_counted |= of_objects == VALID
        can_be_false = named & (of_detections == VALID) & (overlaps.in_dontcare[:, metric] <= min_overlap)
        verdict[can_be_false] = FALSE
        pairs = np.flatnonzero((of_objects[overlaps.pair_object] != NO_ROLE) & named[overlaps.pair_detection])
        np.maximum.at(overlap, overlaps.pair_detection[pairs], overlaps.iou[pairs, metric])
        close = pairs[overlaps.iou[pairs, metric] > min_overlap]
        for pair in _by_score(close, overlaps, of_objects, results.detections.score, metric):
            thing, detection = overlaps.pair_object[pair], overlaps.pair_detection[pair]
            if object_of[detection] == NOTHING and not is_taken[thing]:
                object_of[detection], is_taken[thing] = thing, True
                both_count = of_objects[thing] == VALID and of_detections[detection] == VALID
                verdict[detection] = FOUND if both_count else NOT_COUNTED
    return Verdicts(is_shown, is_counted, verdict, object_of, overlap)


def _by_score(
    pairs: Int64[ndarray, " pair"],
    overlaps: Overlaps,
    of_objects: Int8[ndarray, " object"],
    scores: Float64[ndarray, " detection"],
    metric: int,
) -> Int64[ndarray, " pair"]:
    """Pairs in the order in which they are matched: by score, then objects that count, then by overlap."""
    is_ignored = of_objects[overlaps.pair_object[pairs]] == IGNORED
    order = np.lexsort((-overlaps.iou[pairs, metric], is_ignored, -scores[overlaps.pair_detection[pairs]]))
    return pairs[order]
