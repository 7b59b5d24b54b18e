"""From overlaps to decisions: which detections are right or wrong, and which objects are missed."""

from dataclasses import dataclass
from enum import IntEnum

import numpy as np
from numpy import ndarray

from lidar_rank.evaluation.overlaps import Overlaps
from lidar_rank.kernels.kitti_matching import (
    IGNORED,
    NO_PAIR,
    NO_ROLE,
    VALID,
    count_at_thresholds,
    match_by_overlap,
    match_by_score,
)
from lidar_rank.shapes import Bool, Float64, Int8, Int64


class Decision(IntEnum):
    """Decision on a detection or an object in the evaluation of one class."""

    NOT_EVALUATED = -1
    IGNORED = 0
    TRUE_POSITIVE = 1
    FALSE_POSITIVE = 2
    FALSE_NEGATIVE = 3


@dataclass(frozen=True, eq=False)
class Decisions:
    """Decisions at one score threshold; an object that is found is a TRUE_POSITIVE like its detection.

    Attributes:
        objects: :class:`Decision` of each object.
        detections: :class:`Decision` of each detection; below the score threshold NOT_EVALUATED.
        detection_of_object: Index of the matched detection, or -1. An ignored one may be matched too.
        object_of_detection: Index of the matched object, or -1.
    """

    objects: Int8[ndarray, " object"]
    detections: Int8[ndarray, " detection"]
    detection_of_object: Int64[ndarray, " object"]
    object_of_detection: Int64[ndarray, " detection"]


@dataclass(frozen=True, eq=False)
class Counts:
    """Counts at each score threshold.

    Attributes:
        score_threshold: Descending.
        true_positives: Objects found.
        false_positives: Detections of nothing, outside DontCare areas.
        false_negatives: Objects missed.
        similarity: Sum of the orientation similarity of the true positives.
    """

    score_threshold: Float64[ndarray, " threshold"]
    true_positives: Int64[ndarray, " threshold"]
    false_positives: Int64[ndarray, " threshold"]
    false_negatives: Int64[ndarray, " threshold"]
    similarity: Float64[ndarray, " threshold"]


class Matcher:
    """Matches the objects and detections of one class, difficulty and metric.

    Args:
        overlaps: All pairs that overlap.
        metric: Column of the overlaps: 0 bbox, 1 bev, 2 3d.
        min_overlap: IoU that a pair must exceed, and share of a detection inside a DontCare area above which the
            detection is ignored.
        object_role: VALID, IGNORED or NO_ROLE of each object.
        detection_role: The same of each detection.
        score: Score of each detection.
        can_be_false: Which detections count as false if they find no object; by default all that are VALID.
    """

    def __init__(
        self,
        overlaps: Overlaps,
        metric: int,
        min_overlap: float,
        object_role: Int8[ndarray, " object"],
        detection_role: Int8[ndarray, " detection"],
        score: Float64[ndarray, " detection"],
        can_be_false: Bool[ndarray, " detection"] | None = None,
    ) -> None:
        keep = (
            (overlaps.iou[:, metric] > min_overlap)
            & (object_role[overlaps.pair_object] != NO_ROLE)
            & (detection_role[overlaps.pair_detection] != NO_ROLE)
        )
        self._pair_object, self._pair_detection = overlaps.pair_object[keep], overlaps.pair_detection[keep]
        self._pair_overlap, self._pair_similarity = overlaps.iou[keep, metric], overlaps.similarity[keep]
        self._object_role, self._detection_role = object_role, detection_role
        # Columns of a table are strided; numba would compile for these and for contiguous ones.
        self._score = np.ascontiguousarray(score, dtype=np.float64)
        self._can_be_false = (detection_role == VALID) & (overlaps.in_dontcare[:, metric] <= min_overlap)
        if can_be_false is not None:
            self._can_be_false &= can_be_false
        self.num_objects = int((object_role == VALID).sum())

    def true_positive_scores(self) -> Float64[ndarray, " found"]:
        """Scores of the true positives when each object takes its best-scoring detection, descending."""
        matched_pair = np.empty(len(self._object_role), dtype=np.int64)
        match_by_score(self._pair_object, self._pair_detection, self._score, matched_pair)
        detection = self._pair_detection[matched_pair[(self._object_role == VALID) & (matched_pair != NO_PAIR)]]
        return -np.sort(-self._score[detection[self._detection_role[detection] == VALID]])

    def counts(self, score_threshold: Float64[ndarray, " threshold"]) -> Counts:
        """Count the decisions at each score threshold."""
        counts = count_at_thresholds(
            self._pair_object,
            self._pair_detection,
            self._pair_overlap,
            self._pair_similarity,
            self._score,
            self._detection_role,
            len(self._object_role),
            np.flatnonzero(self._object_role == VALID),
            np.flatnonzero(self._can_be_false),
            score_threshold,
        )
        true_positives, false_positives, false_negatives = counts[:, :3].T.astype(np.int64)
        return Counts(score_threshold, true_positives, false_positives, false_negatives, similarity=counts[:, 3])

    def decisions(self, score_threshold: float = -np.inf) -> Decisions:
        """Decide on each object and detection at one score threshold."""
        matched_pair = np.empty(len(self._object_role), dtype=np.int64)
        taken = np.empty(len(self._score), dtype=np.bool_)
        match_by_overlap(
            self._pair_object,
            self._pair_detection,
            self._pair_overlap,
            self._score,
            self._detection_role,
            score_threshold,
            matched_pair,
            taken,
        )
        matched_object = np.flatnonzero(matched_pair != NO_PAIR)
        matched_detection = self._pair_detection[matched_pair[matched_object]]
        detection_of_object = np.full(len(self._object_role), -1)
        detection_of_object[matched_object] = matched_detection
        object_of_detection = np.full(len(self._score), -1)
        object_of_detection[matched_detection] = matched_object

        objects = np.full(len(self._object_role), Decision.NOT_EVALUATED, dtype=np.int8)
        objects[self._object_role == IGNORED] = Decision.IGNORED
        objects[self._object_role == VALID] = Decision.FALSE_NEGATIVE
        detections = np.full(len(self._score), Decision.NOT_EVALUATED, dtype=np.int8)
        scores_enough = self._score >= score_threshold
        detections[scores_enough & (self._detection_role != NO_ROLE)] = Decision.IGNORED
        detections[scores_enough & self._can_be_false] = Decision.FALSE_POSITIVE
        both_valid = (self._object_role[matched_object] == VALID) & (self._detection_role[matched_detection] == VALID)
        outcome = np.where(both_valid, Decision.TRUE_POSITIVE, Decision.IGNORED)
        objects[matched_object] = outcome
        detections[matched_detection] = outcome
        return Decisions(objects, detections, detection_of_object, object_of_detection)
