"""Reversed pairs against brute force over all pairs, the ROC curve and Kendall's tau."""

import math

import numpy as np
import pytest
from scipy import stats

from lidar_rank.analysis import PairCount, ReversePairs, count_reverse_pairs
from tests.analysis.candidates import random_candidates
from tests.oracles import reverse_pairs as oracle


def counts(pairs):
    return [
        (count.reversed, count.total)
        for count in (pairs.foreground_background, pairs.positive_negative, pairs.positive_positive)
    ]


@pytest.mark.parametrize("min_negative_score", [0.0, 0.5])
@pytest.mark.parametrize("levels", [None, 4], ids=["distinct", "ties"])
@pytest.mark.parametrize("classes", [1, 3])
def test_equals_brute_force_over_all_pairs(classes, levels, min_negative_score):
    for seed in range(10):
        scores, labels, iou = random_candidates(seed, classes=classes, levels=levels)
        images = zip(scores.tolist(), labels.tolist(), iou.tolist(), strict=True)
        expected = np.sum([oracle.reverse_pairs(*image, min_negative_score) for image in images], axis=0)
        assert (expected[:, 1] > 20).all()
        result = count_reverse_pairs(scores, labels, iou, min_negative_score=min_negative_score)
        np.testing.assert_array_equal(counts(result), expected)


def test_first_ratio_is_one_minus_the_area_under_the_roc_curve():
    scores, labels, iou = random_candidates(0, images=1, candidates=3000, classes=1, levels=50)
    positives, negatives = (scores[0, labels[0] == label, 0] for label in (0, 1))
    area = stats.mannwhitneyu(positives, negatives).statistic / len(positives) / len(negatives)
    result = count_reverse_pairs(scores, labels, iou)
    assert result.foreground_background.ratio == pytest.approx(1 - area, abs=1e-12)
    assert result.foreground_background == result.positive_negative


def test_third_ratio_follows_from_kendalls_tau():
    rng = np.random.default_rng(1)
    scores, iou = rng.random((1, 5000, 1)), rng.random((1, 5000))
    result = count_reverse_pairs(scores, np.zeros((1, 5000), int), iou)
    tau = stats.kendalltau(scores[0, :, 0], iou[0]).statistic
    assert result.positive_positive == PairCount(pytest.approx((1 - tau) / 2 * 5000 * 4999 / 2), 5000 * 4999 // 2)


def test_images_do_not_mix_and_batches_add_up():
    first, second = random_candidates(2, images=1), random_candidates(3, images=1)
    together = count_reverse_pairs(*(np.concatenate(pair) for pair in zip(first, second, strict=True)))
    assert counts(together) == counts(count_reverse_pairs(*first) + count_reverse_pairs(*second))


def test_a_perfect_and_a_reversed_ranking():
    labels, iou = np.array([[0, 0, 0, 1, 1]]), np.array([[0.9, 0.8, 0.7, 0, 0]])
    scores = np.array([0.9, 0.8, 0.7, 0.2, 0.1]).reshape(1, 5, 1)
    assert [c for c, _ in counts(count_reverse_pairs(scores, labels, iou))] == [0, 0, 0]
    assert counts(count_reverse_pairs(1 - scores, labels, iou)) == [(6, 6), (6, 6), (3, 3)]


def test_ignored_candidates_and_overlaps_of_negatives_are_not_read():
    scores, labels, iou = random_candidates(4)
    expected = count_reverse_pairs(scores, labels, iou)
    scores[labels == -1] = 1.0
    iou[labels == -1] = 99.0
    assert count_reverse_pairs(scores, labels, iou) == expected


@pytest.mark.parametrize("labels", [[[1, 1]], [[-1, -1]], [[0, 0]]], ids=["background", "ignored", "positives"])
def test_without_pairs_the_ratio_is_nan(labels):
    result = count_reverse_pairs(np.full((1, 2, 1), 0.5), np.array(labels), np.full((1, 2), 0.5))
    assert result == ReversePairs()
    assert math.isnan(result.foreground_background.ratio)


@pytest.mark.parametrize("shape", [(0, 5, 2), (3, 0, 2)])
def test_without_candidates_there_are_no_pairs(shape):
    assert count_reverse_pairs(np.zeros(shape), np.zeros(shape[:2], int), np.zeros(shape[:2])) == ReversePairs()


def test_bad_input_is_named():
    scores, labels, iou = random_candidates(5)
    with pytest.raises(ValueError, match=r"got \(2, 40, 3\), \(2, 39\) and \(2, 40\)"):
        count_reverse_pairs(scores, labels[:, 1:], iou)
    with pytest.raises(ValueError, match=r"scores must lie in \[0, 1\].*take the sigmoid of logits"):
        count_reverse_pairs(scores * 9 - 4, labels, iou)
    with pytest.raises(ValueError, match="scores must lie in"):
        count_reverse_pairs(scores * np.nan, labels, iou)
    with pytest.raises(ValueError, match=r"labels must lie in -1..3, got -1..4"):
        count_reverse_pairs(scores, np.where(labels == 3, 4, labels), iou)
    with pytest.raises(ValueError, match=r"iou of positives must lie in \[0, 1\]"):
        count_reverse_pairs(scores, labels, iou * np.nan)
