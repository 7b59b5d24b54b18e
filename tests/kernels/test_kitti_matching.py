"""The matching kernels on cases that can be checked by hand, and the sampling of scores against its oracle."""

import numpy as np
import pytest

from lidar_rank.kernels import kitti_matching as kernels
from tests.oracles import kitti_eval as oracle

VALID, IGNORED, NO_PAIR = kernels.VALID, kernels.IGNORED, kernels.NO_PAIR


def by_score(pairs, score, num_objects):
    matched = np.empty(num_objects, dtype=np.int64)
    kernels.match_by_score(*np.array(pairs).T, np.array(score, dtype=float), matched)
    return matched.tolist()


def by_overlap(pairs, overlap, score, role, num_objects, threshold=-np.inf):
    matched, taken = np.empty(num_objects, dtype=np.int64), np.ones(len(score), dtype=bool)
    kernels.match_by_overlap(
        *np.array(pairs).T,
        np.array(overlap),
        np.array(score, dtype=float),
        np.array(role, dtype=np.int8),
        threshold,
        matched,
        taken,
    )
    return matched.tolist(), taken.tolist()


def test_by_score_an_object_takes_the_best_detection_that_is_free():
    # Object 0 sees detections 0 and 1, object 2 sees 1 and 2, object 1 sees none.
    pairs = [(0, 0), (0, 1), (2, 1), (2, 2)]
    assert by_score(pairs, [0.2, 0.9, 0.1], num_objects=3) == [1, NO_PAIR, 3]
    assert by_score(pairs, [0.9, 0.2, 0.1], num_objects=3) == [0, NO_PAIR, 2]


def test_by_score_the_first_of_equal_scores_wins():
    assert by_score([(0, 0), (0, 1)], [0.5, 0.5], num_objects=1) == [0]


def test_by_score_a_detection_at_the_lowest_score_is_not_matched():
    assert by_score([(0, 0)], [-1e7], num_objects=1) == [NO_PAIR]
    assert by_score([(0, 0)], [-9e6], num_objects=1) == [0]


def test_by_overlap_an_object_takes_the_free_detection_of_largest_overlap():
    pairs = [(0, 0), (0, 1), (2, 1), (2, 2)]
    matched, taken = by_overlap(pairs, [0.8, 0.9, 0.95, 0.6], [0.1] * 3, [VALID] * 3, num_objects=3)
    assert (matched, taken) == ([1, NO_PAIR, 3], [False, True, True])


def test_by_overlap_low_scores_are_left_out():
    pairs, overlap = [(0, 0), (0, 1)], [0.9, 0.8]
    for threshold, expected in ((0.5, 0), (0.51, 1), (0.8, NO_PAIR)):
        assert by_overlap(pairs, overlap, [0.5, 0.7], [VALID] * 2, 1, threshold)[0] == [expected]


@pytest.mark.parametrize(
    ("role", "expected"),
    [
        ([IGNORED, VALID, IGNORED], 1),
        ([VALID, IGNORED, IGNORED], 0),
        ([IGNORED, IGNORED, VALID], 2),
        ([IGNORED, IGNORED, IGNORED], 0),
    ],
)
def test_by_overlap_an_ignored_detection_is_taken_only_without_a_valid_one(role, expected):
    assert by_overlap([(0, 0), (0, 1), (0, 2)], [0.6, 0.7, 0.99], [0.5] * 3, role, 1)[0] == [expected]


def test_by_overlap_the_first_of_equal_overlaps_wins():
    assert by_overlap([(0, 0), (0, 1)], [0.8, 0.8], [0.1, 0.9], [VALID] * 2, 1)[0] == [0]


def test_counts_at_thresholds():
    # Object 0 is valid and object 1 ignored; each has its detection. Detection 2 is wrong, detection 3 is low.
    pairs = np.array([(0, 0), (1, 1), (2, 3)])
    counts = kernels.count_at_thresholds(
        *pairs.T,
        np.array([0.9, 0.9, 0.9]),
        np.array([0.25, 1.0, 1.0]),
        np.array([0.6, 0.5, 0.4, 0.3]),
        np.array([VALID, VALID, VALID, IGNORED], dtype=np.int8),
        3,
        np.array([0, 2]),
        np.array([0, 1, 2]),
        np.array([0.7, 0.6, 0.4, 0.3]),
    )
    assert counts.tolist() == [[0, 0, 2, 0], [1, 0, 1, 0.25], [1, 1, 1, 0.25], [1, 1, 0, 0.25]]


@pytest.mark.parametrize("num_objects", [1, 2, 39, 40, 41, 42, 60, 100, 333, 5000])
@pytest.mark.parametrize("found", [0.0, 0.02, 0.5, 0.97, 1.0])
def test_sampled_scores_equal_the_oracle(num_objects, found):
    rng = np.random.default_rng(num_objects)
    scores = -np.sort(-rng.random(round(found * num_objects)).round(2))
    got = kernels.sample_scores(scores, num_objects, 41)
    assert got.tolist() == oracle.score_thresholds(scores.tolist(), num_objects)
    assert len(got) <= 41
