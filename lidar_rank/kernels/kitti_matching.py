"""Matching of objects and detections as in the KITTI object benchmark, on flat arrays over all frames.

A *pair* is an object and a detection of the same frame that overlap enough. Pairs come sorted by object, then by
detection, in file order: the benchmark visits them in this order, and the order decides ties. Objects and detections
that do not count in the evaluation of a class have no pair.
"""

import numpy as np
from numpy import ndarray

from lidar_rank.kernels.jit import kernel

VALID, IGNORED, NO_ROLE = 0, 1, -1
NO_PAIR = -1
_LOWEST_SCORE = -1e7  # the benchmark finds no true positive at or below this score


@kernel
def match_by_score(pair_object: ndarray, pair_detection: ndarray, score: ndarray, matched_pair: ndarray) -> None:
    """Give each object in turn its best-scoring detection that no earlier object has taken.

    Args:
        pair_object: (P,) int64.
        pair_detection: (P,) int64.
        score: (D,) float64.
        matched_pair: (G,) int64, written: the pair of each object, or -1.
    """
    taken = np.zeros(len(score), dtype=np.bool_)
    matched_pair[:] = NO_PAIR
    pair = 0
    while pair < len(pair_object):
        this, best, best_score = pair_object[pair], NO_PAIR, _LOWEST_SCORE
        while pair < len(pair_object) and pair_object[pair] == this:
            candidate = pair_detection[pair]
            if not taken[candidate] and score[candidate] > best_score:
                best, best_score = pair, score[candidate]
            pair += 1
        if best != NO_PAIR:
            matched_pair[this] = best
            taken[pair_detection[best]] = True


@kernel
def match_by_overlap(
    pair_object: ndarray,
    pair_detection: ndarray,
    pair_overlap: ndarray,
    score: ndarray,
    detection_role: ndarray,
    score_threshold: float,
    matched_pair: ndarray,
    taken: ndarray,
) -> None:
    """Give each object in turn the detection of greatest overlap that no earlier object has taken.

    An ignored detection is given only if no valid one overlaps the object, and then the first in file order.

    Args:
        pair_object: (P,) int64.
        pair_detection: (P,) int64.
        pair_overlap: (P,) float64.
        score: (D,) float64.
        detection_role: (D,) int8.
        score_threshold: Detections with a lower score are left out.
        matched_pair: (G,) int64, written: the pair of each object, or -1.
        taken: (D,) bool, written: whether a detection was given to an object.
    """
    taken[:] = False
    matched_pair[:] = NO_PAIR
    pair = 0
    while pair < len(pair_object):
        this, best, best_overlap = pair_object[pair], NO_PAIR, 0.0
        while pair < len(pair_object) and pair_object[pair] == this:
            candidate = pair_detection[pair]
            if not taken[candidate] and score[candidate] >= score_threshold:
                if detection_role[candidate] == VALID:
                    if pair_overlap[pair] > best_overlap:
                        best, best_overlap = pair, pair_overlap[pair]
                elif best == NO_PAIR:
                    best = pair
            pair += 1
        if best != NO_PAIR:
            matched_pair[this] = best
            taken[pair_detection[best]] = True


@kernel
def count_at_thresholds(
    pair_object: ndarray,
    pair_detection: ndarray,
    pair_overlap: ndarray,
    pair_similarity: ndarray,
    score: ndarray,
    detection_role: ndarray,
    num_objects: int,
    valid_objects: ndarray,
    can_be_false: ndarray,
    score_thresholds: ndarray,
) -> ndarray:
    """Count the matches of :func:`match_by_overlap` at each score threshold.

    Args:
        pair_object: (P,) int64.
        pair_detection: (P,) int64.
        pair_overlap: (P,) float64.
        pair_similarity: (P,) float64, orientation similarity in [0, 1].
        score: (D,) float64.
        detection_role: (D,) int8.
        num_objects: Number G of objects, valid or not.
        valid_objects: (V,) int64, the objects that should be found.
        can_be_false: (C,) int64, the detections that are false positives unless they are matched with an object.
        score_thresholds: (K,) float64.

    Returns:
        (K, 4) float64: true positives, false positives, false negatives, summed similarity of the true positives.
    """
    matched_pair = np.empty(num_objects, dtype=np.int64)
    taken = np.empty(len(score), dtype=np.bool_)
    counts = np.zeros((len(score_thresholds), 4))
    for k in range(len(score_thresholds)):
        match_by_overlap(
            pair_object, pair_detection, pair_overlap, score, detection_role, score_thresholds[k], matched_pair, taken
        )
        for i in valid_objects:
            pair = matched_pair[i]
            if pair == NO_PAIR:
                counts[k, 2] += 1
            elif detection_role[pair_detection[pair]] == VALID:
                counts[k, 0] += 1
                counts[k, 3] += pair_similarity[pair]
        for i in can_be_false:
            if score[i] >= score_thresholds[k] and not taken[i]:
                counts[k, 1] += 1
    return counts


@kernel
def sample_scores(descending_scores: ndarray, num_objects: int, num_samples: int) -> ndarray:
    """Pick the score thresholds whose recall is nearest to 0, 1/40, 2/40, ... as the benchmark does.

    Args:
        descending_scores: (T,) float64, scores of the true positives.
        num_objects: Number of valid objects, found or not.
        num_samples: Number of recall values to sample; 41 in the benchmark.

    Returns:
        (K,) float64, K <= num_samples; fewer where recall ends early or there are fewer true positives than samples.
    """
    picked = np.empty(len(descending_scores))
    num_picked, wanted_recall = 0, 0.0
    last = len(descending_scores) - 1
    for i in range(last + 1):
        recall, next_recall = (i + 1) / num_objects, (i + 2) / num_objects
        if i == last or next_recall - wanted_recall >= wanted_recall - recall:
            picked[num_picked] = descending_scores[i]
            num_picked += 1
            wanted_recall += 1.0 / (num_samples - 1)
    return picked[:num_picked]
