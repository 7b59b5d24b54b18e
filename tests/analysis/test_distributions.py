"""Histograms against counts by hand."""

import numpy as np
import pytest

from lidar_rank.analysis import count_distributions
from tests.analysis.candidates import random_candidates


def test_hand_counted_bins():
    scores = np.array([[[0.9, 0.2], [0.1, 0.6], [0.3, 0.4], [0.8, 0.8], [1.0, 0.0]]])
    labels = np.array([[0, 1, 2, -1, 0]])
    iou = np.array([[0.55, 0.1, np.nan, np.nan, 1.0]])
    result = count_distributions(scores, labels, iou, bins=4)
    assert result.edges.tolist() == [0, 0.25, 0.5, 0.75, 1]
    assert result.foreground_score.tolist() == [0, 0, 1, 2]  # 0.6 | 0.9, 1.0
    assert result.background_score.tolist() == [0, 1, 0, 0]  # 0.4
    assert result.iou.tolist() == [1, 0, 1, 1]
    assert np.argwhere(result.score_and_iou).tolist() == [[2, 0], [3, 2], [3, 3]]
    # |p - t|: 0.1 0.2 | 0.1 0.4 | 0.3 0.4 | ignored | 0 0
    assert result.gradient_norm.tolist() == [5, 3, 0, 0]


def test_every_counted_candidate_is_in_one_bin():
    scores, labels, iou = random_candidates(0, images=3, candidates=500)
    result = count_distributions(scores, labels, iou)
    positive = ((labels >= 0) & (labels < 3)).sum()
    assert result.foreground_score.sum() == result.iou.sum() == result.score_and_iou.sum() == positive
    assert result.background_score.sum() == (labels == 3).sum()
    assert result.gradient_norm.sum() == 3 * (labels >= 0).sum()
    assert len(result.edges) == 31


def test_gradient_norm_is_that_of_cross_entropy():
    torch = pytest.importorskip("torch")
    scores, labels, iou = random_candidates(1, classes=1)
    logits = torch.logit(torch.tensor(scores)).requires_grad_()
    target = torch.tensor(labels == 0)[..., None].double()
    torch.nn.functional.binary_cross_entropy_with_logits(logits, target, reduction="sum").backward()
    norms = logits.grad.abs().numpy()[labels >= 0]
    expected = np.histogram(norms, 30, range=(0, 1))[0]
    np.testing.assert_array_equal(count_distributions(scores, labels, iou).gradient_norm, expected)


def test_batches_add_up():
    first, second = random_candidates(2, images=1), random_candidates(3, images=1)
    together = count_distributions(*(np.concatenate(pair) for pair in zip(first, second, strict=True)))
    added = count_distributions(*first) + count_distributions(*second)
    for name in ("foreground_score", "background_score", "score_and_iou", "gradient_norm"):
        np.testing.assert_array_equal(getattr(added, name), getattr(together, name))
    with pytest.raises(ValueError, match="must have the same bins to be added, got 30 and 10"):
        added + count_distributions(*first, bins=10)


def test_bad_input_is_named():
    scores, labels, iou = random_candidates(4)
    with pytest.raises(ValueError, match="bins must be >= 1, got 0"):
        count_distributions(scores, labels, iou, bins=0)
    with pytest.raises(ValueError, match="take the sigmoid"):
        count_distributions(scores - 1, labels, iou)


def test_no_candidates_give_empty_bins():
    result = count_distributions(np.zeros((2, 0, 3)), np.zeros((2, 0), int), np.zeros((2, 0)))
    assert result.gradient_norm.tolist() == result.iou.tolist() == [0] * 30
