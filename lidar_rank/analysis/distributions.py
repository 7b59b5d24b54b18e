"""Histograms of the scores, overlaps and gradient norms of a detector."""

from dataclasses import dataclass, fields

import numpy as np

from lidar_rank.analysis._checks import check_candidates
from lidar_rank.labels import is_object
from lidar_rank.shapes import Float, Int, Int64


@dataclass(frozen=True, eq=False)
class Distributions:
    """Counts in equal bins over [0, 1]. Use ``+`` to add the counts of several batches."""

    foreground_score: Int64[np.ndarray, " bin"]
    """Positives, by their score at the class of their object."""
    background_score: Int64[np.ndarray, " bin"]
    """Background candidates, by their highest score."""
    score_and_iou: Int64[np.ndarray, "bin bin"]
    """Positives, by their score at the class of their object (rows) and their overlap (columns)."""
    gradient_norm: Int64[np.ndarray, " bin"]
    """Entries (candidate, class), by \\|probability - target\\|, the gradient of cross entropy at the logit."""

    def __post_init__(self) -> None:
        bins = len(self.gradient_norm)
        for name, counts in vars(self).items():
            shape = (bins, bins) if name == "score_and_iou" else (bins,)
            if counts.shape != shape or bins < 1 or (counts < 0).any():
                raise ValueError(f"{name} must hold counts in {bins} bins, got shape {counts.shape}")

    @property
    def iou(self) -> Int64[np.ndarray, " bin"]:
        """Positives, by their overlap."""
        return self.score_and_iou.sum(axis=0)

    @property
    def edges(self) -> Float[np.ndarray, " edge"]:
        """Borders of the bins."""
        return np.linspace(0, 1, len(self.gradient_norm) + 1)

    def __add__(self, other: "Distributions") -> "Distributions":
        if self.edges.shape != other.edges.shape:
            own, others = len(self.edges) - 1, len(other.edges) - 1
            raise ValueError(f"distributions must have the same bins to be added, got {own} and {others}")
        return Distributions(*(getattr(self, field.name) + getattr(other, field.name) for field in fields(self)))


def count_distributions(
    scores: Float[np.ndarray, "image candidate class"],
    labels: Int[np.ndarray, "image candidate"],
    iou: Float[np.ndarray, "image candidate"],
    *,
    bins: int = 30,
) -> Distributions:
    """Count histograms of scores, overlaps and gradient norms. Ignored candidates are not counted.

    Args:
        scores: Probabilities.
        labels: 0..C-1 the object's class, C background, -1 ignored.
        iou: Overlap of each positive's regressed box with its object, in [0, 1]; read at positives only.
        bins: Number of bins. The default of 30 gives the unit regions of GHM (Li et al., "Gradient Harmonized
            Single-stage Detector", AAAI 2019), whose densities are ``bins`` times these counts. A value of 1 is
            counted in the last bin.

    Returns:
        Counts over all images.

    Raises:
        ValueError: a shape is wrong, or scores, labels, overlaps or ``bins`` are out of range.
    """
    check_candidates(scores, labels, iou)
    if bins < 1:
        raise ValueError(f"bins must be >= 1, got {bins}")
    num_classes = scores.shape[2]
    positive = is_object(labels, num_classes)
    own_score = np.take_along_axis(scores[positive], labels[positive][:, None], axis=1)[:, 0]
    target = labels[labels >= 0][:, None] == np.arange(num_classes)
    score_and_iou, _, _ = np.histogram2d(own_score, iou[positive], bins, range=((0, 1), (0, 1)))
    return Distributions(
        foreground_score=_counts(own_score, bins),
        background_score=_counts(scores[labels == num_classes].max(axis=1, initial=0.0), bins),
        score_and_iou=score_and_iou.astype(np.int64),
        gradient_norm=_counts(np.abs(scores[labels >= 0] - target), bins),
    )


def _counts(values: np.ndarray, bins: int) -> Int64[np.ndarray, " bin"]:
    return np.histogram(values, bins, range=(0, 1))[0].astype(np.int64)
