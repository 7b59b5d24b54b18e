"""How often a detector ranks two candidates in the wrong order."""

from dataclasses import dataclass

import numpy as np

from lidar_rank.analysis._checks import check_candidates
from lidar_rank.kernels.discordance import count_discordant
from lidar_rank.labels import is_object
from lidar_rank.shapes import Float, Int


@dataclass(frozen=True)
class PairCount:
    """Number of pairs of candidates, and how many of them are reversed. A tie counts half."""

    reversed: float = 0.0
    total: int = 0

    @property
    def ratio(self) -> float:
        """Share of reversed pairs; NaN without pairs."""
        return self.reversed / self.total if self.total else float("nan")

    def __add__(self, other: "PairCount") -> "PairCount":
        return PairCount(self.reversed + other.reversed, self.total + other.total)


@dataclass(frozen=True)
class ReversePairs:
    """The three counts of RankDetNet's Table 3. Use ``+`` to add the counts of several batches."""

    foreground_background: PairCount = PairCount()
    """Positives of all classes, by their score at their object's class, against background, by its highest score."""
    positive_negative: PairCount = PairCount()
    """Positives of a class against background and positives of other classes, by the score of that class."""
    positive_positive: PairCount = PairCount()
    """Positives of one class with different overlaps, of which the one with the larger should have the larger score."""

    def __add__(self, other: "ReversePairs") -> "ReversePairs":
        return ReversePairs(
            self.foreground_background + other.foreground_background,
            self.positive_negative + other.positive_negative,
            self.positive_positive + other.positive_positive,
        )


def count_reverse_pairs(
    scores: Float[np.ndarray, "image candidate class"],
    labels: Int[np.ndarray, "image candidate"],
    iou: Float[np.ndarray, "image candidate"],
    *,
    min_negative_score: float = 0.0,
) -> ReversePairs:
    """Count the pairs of one image in which the candidate that should rank higher has the lower score.

    All pairs are counted exactly, in O(n log n). Without ``min_negative_score`` the first two ratios are one minus the
    area under the ROC curve.

    Source: Liu et al., "RankDetNet: Delving Into Ranking Constraints for Object Detection", CVPR 2021, Table 3. The
    paper does not say which negatives it counts, so compare ratios only for the same ``min_negative_score``.

    Args:
        scores: Probabilities.
        labels: 0..C-1 the object's class, C background, -1 ignored.
        iou: Overlap of each positive's regressed box with its object, in [0, 1]; read at positives only.
        min_negative_score: Negatives with a lower score are not counted. A detector drops them, and in a LiDAR scan
            they are a thousand times as many as the others.

    Returns:
        Counts over all images.

    Raises:
        ValueError: a shape is wrong, or scores, labels or overlaps are out of range.

    Example:
        >>> scores = np.array([[[0.9], [0.4], [0.6], [0.1]]])
        >>> pairs = count_reverse_pairs(scores, np.array([[0, 0, 1, 1]]), np.array([[0.7, 0.8, 0.0, 0.0]]))
        >>> pairs.foreground_background.ratio, pairs.positive_positive.ratio
        (0.25, 1.0)
    """
    check_candidates(scores, labels, iou)
    result = ReversePairs()
    for image_scores, image_labels, image_iou in zip(scores, labels, iou, strict=True):
        result += _count_in_image(image_scores, image_labels, image_iou, min_negative_score)
    return result


def _count_in_image(scores: np.ndarray, labels: np.ndarray, iou: np.ndarray, min_negative_score: float) -> ReversePairs:
    num_classes = scores.shape[1]
    positive = np.flatnonzero(is_object(labels, num_classes))
    own_score = scores[positive, labels[positive]]
    background = scores[labels == num_classes].max(axis=1, initial=0.0)
    pairs = ReversePairs(_count_below(own_score, background, min_negative_score))
    for label in np.unique(labels[positive]):
        members = labels == label
        negatives = scores[(labels >= 0) & ~members, label]
        pairs += ReversePairs(
            positive_negative=_count_below(scores[members, label], negatives, min_negative_score),
            positive_positive=_count_against_order(scores[members, label], iou[members]),
        )
    return pairs


def _count_below(positives: np.ndarray, negatives: np.ndarray, min_negative_score: float) -> PairCount:
    """Count the pairs in which the positive scores below the negative."""
    negatives = negatives[negatives >= min_negative_score]
    # Those below every positive, nearly all of them after some training, are in no reversed pair: they are not sorted.
    rivals = np.sort(negatives[negatives >= positives.min(initial=np.inf)])
    not_above, below = (np.searchsorted(rivals, positives, side) for side in ("right", "left"))
    above = len(rivals) - (not_above + below) / 2
    return PairCount(float(above.sum()), len(positives) * len(negatives))


def _count_against_order(scores: np.ndarray, iou: np.ndarray) -> PairCount:
    """Count the pairs in which the larger overlap has the smaller score."""
    order = np.argsort(iou)
    _, rank = np.unique(scores[order], return_inverse=True)
    discordant, tied, total = count_discordant(iou[order], rank)
    return PairCount(discordant + tied / 2, total)
