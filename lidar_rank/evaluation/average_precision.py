"""From counts to average precision: precision at 41 recalls and its mean over 11 or 40 of them, or at every recall."""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy import ndarray

from lidar_rank.evaluation.matching import Counts, Matcher
from lidar_rank.kernels.kitti_matching import sample_scores
from lidar_rank.shapes import Float64, Num

NUM_SAMPLES: Final = 41
RECALL_SAMPLES: Final = {"R11": slice(0, NUM_SAMPLES, 4), "R40": slice(1, NUM_SAMPLES)}
SAMPLINGS: Final = ("official", "recall")


@dataclass(frozen=True, eq=False)
class PrecisionCurve:
    """Precision of one class, difficulty and metric.

    Attributes:
        num_objects: Objects that were to be found.
        counts: At the score thresholds that were sampled, at most 41.
        precision: At recall 0, 1/40, ..., 1, the best at this or a higher recall; 0 where the recall is not reached.
        orientation_similarity: The same for precision weighted by the orientation similarity.
    """

    num_objects: int
    counts: Counts
    precision: Float64[ndarray, "41"]
    orientation_similarity: Float64[ndarray, "41"]


def precision_curve(matcher: Matcher, sampling: str) -> PrecisionCurve:
    """Sample precision over recall.

    Args:
        matcher: Of one class, difficulty and metric.
        sampling: ``"official"`` takes the sample at recall k / 40 from the k-th score threshold. With fewer than 41
            objects there are fewer thresholds than samples, and the later samples are 0 even if all objects are found.
            ``"recall"`` takes it from the first threshold that reaches recall k / 40. With many objects both agree.

    Raises:
        ValueError: ``sampling`` is unknown.
    """
    if sampling not in SAMPLINGS:
        raise ValueError(f"sampling must be one of {SAMPLINGS}, got {sampling!r}")
    scores = matcher.true_positive_scores()
    if sampling == "official":
        thresholds = sample_scores(scores, matcher.num_objects, NUM_SAMPLES)
    else:
        # The recall of scores[i] is (i + 1) / num_objects.
        found = -(-np.arange(NUM_SAMPLES) * matcher.num_objects // (NUM_SAMPLES - 1))
        first = np.maximum(found - 1, 0)
        thresholds = scores[first[first < len(scores)]]
    counts = matcher.counts(thresholds)
    positives = counts.true_positives + counts.false_positives
    return PrecisionCurve(
        num_objects=matcher.num_objects,
        counts=counts,
        precision=_best_from_here(counts.true_positives, positives),
        orientation_similarity=_best_from_here(counts.similarity, positives),
    )


def average(samples: Float64[ndarray, "41"]) -> dict[str, float]:
    """Average precision in percent: ``"R11"`` over recall 0, 0.1, ..., 1, ``"R40"`` over 1/40, 2/40, ..., 1."""
    return {name: 100 * float(samples[chosen].mean()) for name, chosen in RECALL_SAMPLES.items()}


def all_point_ap(matcher: Matcher) -> float:
    """Average precision in percent at every recall: the area below the interpolated curve, as in PASCAL VOC since 2010.

    R40 changes by up to 2.5 when the highest of its recalls is just reached or just missed; this hardly changes.

    Args:
        matcher: Of one class, difficulty and metric.
    """
    counts = matcher.counts(np.unique(matcher.true_positive_scores())[::-1].copy())
    precision = counts.true_positives / np.maximum(counts.true_positives + counts.false_positives, 1)
    recall = counts.true_positives / max(matcher.num_objects, 1)
    by_recall = np.argsort(recall, kind="stable")  # a lower threshold can find fewer: boxes are matched anew at each
    best_from_here = np.maximum.accumulate(precision[by_recall][::-1])[::-1]
    return 100 * float(np.diff(recall[by_recall], prepend=0.0) @ best_from_here)


def _best_from_here(right: Num[ndarray, " threshold"], positives: Num[ndarray, " threshold"]) -> Float64[ndarray, "41"]:
    """Precision at each sample, replaced by the maximum of this and all later samples."""
    samples = np.zeros(NUM_SAMPLES)
    np.divide(right, positives, out=samples[: len(right)], where=positives > 0)
    return np.maximum.accumulate(samples[::-1])[::-1]
