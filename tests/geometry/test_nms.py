"""Rotated NMS against the greedy rule, computed with Shapely."""

import numpy as np
import pytest

from lidar_rank.geometry import nms_bev
from tests.oracles import rotated_iou as oracle


def random_boxes(seed, num_objects=30):
    """Five detections of each object, many with equal scores."""
    rng = np.random.default_rng(seed)
    objects = np.column_stack(
        [rng.uniform(-8, 8, (num_objects, 2)), rng.uniform(1, 5, (num_objects, 2)), rng.uniform(-4, 4, num_objects)]
    )
    boxes = np.repeat(objects, 5, axis=0) + rng.normal(0, 0.1, (5 * num_objects, 5))
    return boxes, rng.random(len(boxes)).round(1)


def greedy(boxes, scores, iou_threshold):
    kept = []
    for i in sorted(range(len(boxes)), key=lambda i: (-scores[i], i)):
        if (oracle.paired_iou_bev(boxes[kept], boxes[[i] * len(kept)]) <= iou_threshold).all():
            kept.append(i)
    return kept


@pytest.mark.parametrize("iou_threshold", [0.0, 0.01, 0.3, 0.7])
@pytest.mark.parametrize("seed", [0, 1])
def test_equals_the_greedy_rule(seed, iou_threshold):
    boxes, scores = random_boxes(seed)
    expected = greedy(boxes, scores, iou_threshold)
    assert nms_bev(boxes, scores, iou_threshold).tolist() == expected
    assert 0 < len(expected) < len(boxes)


def test_of_equal_boxes_and_scores_the_first_is_kept():
    boxes = np.tile([[3.0, -2.0, 4.0, 2.0, 0.4]], (3, 1))
    assert nms_bev(boxes, np.array([0.5, 0.5, 0.5]), 0.99).tolist() == [0]
    assert nms_bev(boxes, np.array([0.5, 0.7, 0.5]), 0.99).tolist() == [1]
    assert nms_bev(boxes, np.array([0.5, 0.7, 0.5]), 1.0).tolist() == [1, 0, 2]


@pytest.mark.parametrize("scores", [np.uint8([0, 255, 0]), np.int8([0, 1, -128]), np.array([False, True, False])])
def test_scores_may_be_of_any_type(scores):
    """They were sorted by their negatives, which unsigned integers do not have."""
    apart = np.array([[x, 0, 4, 2, 0] for x in (0, 10, 20)])
    assert nms_bev(apart, scores, 0.5).tolist() == [1, 0, 2]


def test_a_suppressed_box_suppresses_nothing():
    chain = np.array([[0, 0, 4, 2, 0], [2, 0, 4, 2, 0], [4, 0, 4, 2, 0]])
    assert nms_bev(chain, np.array([0.9, 0.8, 0.7], dtype=np.float32), 0.2).tolist() == [0, 2]


def test_no_boxes():
    assert nms_bev(np.zeros((0, 5)), np.zeros(0), 0.5).shape == (0,)


@pytest.mark.parametrize(
    ("scores", "iou_threshold", "message"),
    [
        ([0.5, 0.5], 0.5, r"scores must have shape \(1,\), one per box, got \(2,\)"),
        ([np.nan], 0.5, "scores must be finite, got nan"),
        ([0.5], 1.5, r"iou_threshold must be within \[0, 1\], got 1.5"),
        ([0.5], np.nan, r"iou_threshold must be within \[0, 1\], got nan"),
    ],
)
def test_bad_input_is_named(scores, iou_threshold, message):
    with pytest.raises(ValueError, match=message):
        nms_bev(np.array([[0, 0, 1, 1, 0]]), np.array(scores), iou_threshold)
    with pytest.raises(ValueError, match="boxes must have shape"):
        nms_bev(np.zeros((1, 7)), np.zeros(1), 0.5)
