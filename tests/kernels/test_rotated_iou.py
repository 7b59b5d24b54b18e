"""Areas of rotated rectangles against Shapely, on the cases that are hardest to intersect."""

import numpy as np
import pytest

from lidar_rank.kernels import rotated_iou as kernels
from tests.oracles import rotated_iou as oracle

NUM_PAIRS = 1000


def random_boxes(rng, num=NUM_PAIRS, reach_m=3.0):
    return np.column_stack(
        [rng.uniform(-reach_m, reach_m, (num, 2)), rng.uniform(0.1, 4, (num, 2)), rng.uniform(-4, 4, num)]
    )


def turned_by_quarters(rng):
    a = random_boxes(rng)
    return a, a + np.array([0, 0, 0, 0, 1]) * np.pi / 2 * rng.integers(-8, 9, (NUM_PAIRS, 1))


def nearly_identical(rng):
    a = random_boxes(rng)
    size = 10.0 ** rng.uniform(-15, -2, (NUM_PAIRS, 1))
    return a, a + rng.normal(0, size, a.shape) * [1, 1, 0.1, 0.1, 1]


def nearly_parallel(rng):
    a, b = random_boxes(rng), random_boxes(rng)
    b[:, 4] = a[:, 4] + rng.normal(0, 10.0 ** rng.uniform(-17, -1, NUM_PAIRS))
    return a, b


def contained(rng):
    a = random_boxes(rng)
    b = a.copy()
    b[:, 2:4] *= rng.uniform(0.1, 0.9, (NUM_PAIRS, 2))
    return a, b


def touching_side_by_side(rng):
    a, b = random_boxes(rng), random_boxes(rng)
    b[:, 4] = a[:, 4]
    along = np.column_stack([np.cos(a[:, 4]), np.sin(a[:, 4])])
    b[:, :2] = a[:, :2] + along * (a[:, 2:3] + b[:, 2:3]) / 2
    return a, b


def on_a_grid(rng):
    """Shared edges, shared corners, corners on edges."""
    a, b = (
        np.column_stack(
            [
                rng.integers(-4, 5, (NUM_PAIRS, 2)) / 2,
                rng.integers(1, 5, (NUM_PAIRS, 2)),
                rng.integers(-4, 5, NUM_PAIRS),
            ]
        ).astype(float)
        for _ in range(2)
    )
    a[:, 4] *= np.pi / 4
    b[:, 4] *= np.pi / 4
    return a, b


def far_from_the_origin(rng):
    offset = np.pad(rng.uniform(-1e6, 1e6, (NUM_PAIRS, 2)), ((0, 0), (0, 3)))
    return random_boxes(rng) + offset, random_boxes(rng) + offset


def thin(rng):
    a, b = random_boxes(rng), random_boxes(rng)
    for boxes in (a, b):
        boxes[:, 2], boxes[:, 3] = rng.uniform(10, 1000, NUM_PAIRS), 10.0 ** rng.uniform(-6, 0, NUM_PAIRS)
    return a, b


def large_and_small(rng):
    a, b = random_boxes(rng), random_boxes(rng)
    a[:, 2:4] *= 1e4
    swap = rng.random(NUM_PAIRS) < 0.5
    a[swap], b[swap] = b[swap], a[swap]
    return a, b


def paired_iou(a, b):
    each = np.arange(len(a))
    area = kernels.paired_intersection_area(a, b, each, each)
    return area / (a[:, 2] * a[:, 3] + b[:, 2] * b[:, 3] - area)


def test_random_pairs_equal_shapely():
    rng = np.random.default_rng(0)
    a, b = random_boxes(rng, 20_000), random_boxes(rng, 20_000)
    got = paired_iou(a, b)
    np.testing.assert_allclose(got, oracle.paired_iou_bev(a, b), rtol=0, atol=1e-12)
    assert 0.2 < (got > 0).mean() < 0.5


@pytest.mark.parametrize(
    "family",
    [
        turned_by_quarters,
        nearly_identical,
        nearly_parallel,
        contained,
        touching_side_by_side,
        on_a_grid,
        far_from_the_origin,
        thin,
        large_and_small,
    ],
)
def test_hard_pairs_equal_shapely(family):
    a, b = family(np.random.default_rng(1))
    got = paired_iou(a, b)
    np.testing.assert_allclose(got, oracle.paired_iou_bev(a, b), rtol=0, atol=1e-9)
    np.testing.assert_allclose(paired_iou(b, a), got, rtol=0, atol=1e-12)


def test_indices_say_which_boxes_meet():
    rng = np.random.default_rng(2)
    a, b = random_boxes(rng, 5), random_boxes(rng, 7)
    index_a, index_b = rng.integers(0, 5, 30), rng.integers(0, 7, 30)
    got = kernels.paired_intersection_area(a, b, index_a, index_b)
    np.testing.assert_allclose(got, oracle.paired_intersection_area(a[index_a], b[index_b]), rtol=0, atol=1e-12)


def test_compiled_code_equals_the_python_code():
    rng = np.random.default_rng(3)
    a, b = random_boxes(rng, 40), random_boxes(rng, 40)
    each = np.arange(40)
    compiled = kernels.paired_intersection_area(a, b, each, each)
    np.testing.assert_array_equal(kernels.paired_intersection_area.py_func(a, b, each, each), compiled)
    kept = kernels.suppress_overlapping(a, 0.1)
    np.testing.assert_array_equal(kernels.suppress_overlapping.py_func(a, 0.1), kept)
    assert 0 < kept.sum() < 40
