"""Correlation of scores and overlaps, against the formula in plain Python."""

import math

import numpy as np
import pytest

from lidar_rank.analysis import score_iou_correlation

from .candidates import random_candidates


def pearson(scores: np.ndarray, labels: np.ndarray, iou: np.ndarray) -> float:
    pairs = [
        (scores[image, candidate, label], iou[image, candidate])
        for (image, candidate), label in np.ndenumerate(labels)
        if 0 <= label < scores.shape[2]
    ]
    mean = [sum(column) / len(pairs) for column in zip(*pairs, strict=True)]
    x, y = zip(*((a - mean[0], b - mean[1]) for a, b in pairs), strict=True)
    covariance = sum(a * b for a, b in zip(x, y, strict=True))
    return covariance / math.sqrt(sum(a * a for a in x) * sum(b * b for b in y))


@pytest.mark.parametrize("seed", range(5))
def test_equals_the_formula(seed):
    candidates = random_candidates(seed)
    assert score_iou_correlation(*candidates) == pytest.approx(pearson(*candidates), abs=1e-12)


@pytest.mark.parametrize(
    ("labels", "iou"), [([1, 1], [0.0, 0.0]), ([0, 1], [0.5, 0.0]), ([0, 0], [0.5, 0.5])], ids=["none", "one", "equal"]
)
def test_is_nan_without_a_spread(labels, iou):
    assert math.isnan(score_iou_correlation(np.array([[[0.9], [0.4]]]), np.array([labels]), np.array([iou])))


def test_bad_scores_are_refused():
    with pytest.raises(ValueError, match="scores must lie in"):
        score_iou_correlation(np.array([[[1.5]]]), np.array([[0]]), np.array([[0.5]]))
