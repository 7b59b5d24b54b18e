"""How well the scores of positives follow the overlaps of their boxes."""

import numpy as np

from lidar_rank.analysis._checks import check_candidates
from lidar_rank.labels import is_object
from lidar_rank.shapes import Float, Int


def score_iou_correlation(
    scores: Float[np.ndarray, "image candidate class"],
    labels: Int[np.ndarray, "image candidate"],
    iou: Float[np.ndarray, "image candidate"],
) -> float:
    """Pearson's correlation of the score of each positive, at the class of its object, with its overlap.

    Args:
        scores: Probabilities.
        labels: 0..C-1 the object's class, C background, -1 ignored.
        iou: Overlap of each positive's regressed box with its object, in [0, 1]; read at positives only.

    Returns:
        In [-1, 1], over the positives of all images together; NaN where all scores or all overlaps are the same.

    Raises:
        ValueError: a shape is wrong, or scores, labels or overlaps are out of range.

    Example:
        >>> scores = np.array([[[0.9], [0.5], [0.1], [0.7]]])
        >>> round(score_iou_correlation(scores, np.array([[0, 0, 0, 1]]), np.array([[0.8, 0.6, 0.4, 0.0]])), 6)
        1.0
    """
    check_candidates(scores, labels, iou)
    positive = is_object(labels, scores.shape[2])
    own_score = np.take_along_axis(scores[positive], labels[positive][:, None], axis=1)[:, 0]
    if min(np.ptp(values) if len(values) else 0 for values in (own_score, iou[positive])) == 0:
        return float("nan")
    return float(np.corrcoef(own_score, iou[positive])[0, 1])
