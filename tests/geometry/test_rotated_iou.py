"""Pairwise IoU: shapes and conventions of boxes, exact values, bad input."""

import math
import multiprocessing
import subprocess
import sys

import numpy as np
import pytest

import lidar_rank.geometry
from lidar_rank.geometry import pairwise_iou_3d, pairwise_iou_bev
from tests.oracles import rotated_iou as oracle

IOU_OF_COLUMNS = {5: pairwise_iou_bev, 7: pairwise_iou_3d}


def random_boxes(seed, num, columns):
    """Boxes of cars in a crowded area."""
    rng = np.random.default_rng(seed)
    boxes = np.column_stack(
        [
            rng.uniform(-6, 6, (num, 2)),
            rng.uniform(-2, 0, num),
            rng.uniform(1, 5, (num, 2)),
            rng.uniform(0.5, 2, num),
            rng.uniform(-7, 7, num),
        ]
    )
    return boxes if columns == 7 else boxes[:, [0, 1, 3, 4, 6]]


@pytest.fixture(params=[5, 7], ids=["bev", "3d"])
def columns(request):
    return request.param


def test_every_pair_equals_shapely(columns):
    a, b = random_boxes(0, 60, columns), random_boxes(1, 80, columns)
    paired = {5: oracle.paired_iou_bev, 7: oracle.paired_iou_3d}[columns]
    expected = paired(np.repeat(a, 80, axis=0), np.tile(b, (60, 1))).reshape(60, 80)
    got = IOU_OF_COLUMNS[columns](a, b)
    np.testing.assert_allclose(got, expected, rtol=0, atol=1e-12)
    assert got.dtype == np.float64
    assert (got > 0).sum() > 500


@pytest.mark.parametrize("offset_m", [0.0, 80.0, 1e7])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_a_box_with_itself_is_exactly_1(columns, offset_m, dtype):
    boxes = (random_boxes(2, 300, columns) + offset_m * np.eye(1, columns)).astype(dtype)
    assert (np.diag(IOU_OF_COLUMNS[columns](boxes, boxes)) == 1).all()


@pytest.mark.parametrize(
    ("other", "expected"),
    [
        ([0, 0, 4, 2, math.pi], 1.0),
        ([0, 0, 2, 4, math.pi / 2], 1.0),
        ([0, 0, 2, 1, 0.0], 0.25),  # contained
        ([2, 0, 4, 2, 0.0], 1 / 3),  # half of each
        ([4, 0, 4, 2, 0.0], 0.0),  # touching along a side
        ([4, 2, 4, 2, 0.0], 0.0),  # touching at a corner
        ([3, 0, 2, 2, math.pi / 4], (math.sqrt(2) - 1) ** 2 / (12 - (math.sqrt(2) - 1) ** 2)),  # a corner inside
        ([0, 0, 4, 2, math.pi / 2], 4 / 12),  # a cross
        ([0, 0, 0, 0, 0.0], 0.0),
        ([3, 1.5, 1, 1, 0.0], 0.0),  # circles meet, boxes do not
    ],
)
def test_values_known_in_closed_form(other, expected):
    got = pairwise_iou_bev(np.array([[0, 0, 4, 2, 0.0]]), np.array([other]))
    np.testing.assert_allclose(got, [[expected]], rtol=0, atol=1e-12)


def test_square_and_the_same_square_turned_by_45_degrees_share_a_regular_octagon():
    octagon = 2 * (math.sqrt(2) - 1)
    got = pairwise_iou_bev(np.array([[5, -3, 1, 1, 0.2]]), np.array([[5, -3, 1, 1, 0.2 + math.pi / 4]]))
    assert got[0, 0] == pytest.approx(octagon / (2 - octagon), abs=1e-14)


def test_z_is_that_of_the_bottom():
    box = np.array([[0, 0, 1, 4, 2, 2, 0.5]])
    others = box + np.array([0, 0, 1, 0, 0, 0, 0]) * np.array([[0], [1], [2], [-1], [-2]])
    np.testing.assert_allclose(pairwise_iou_3d(box, others), [[1, 1 / 3, 0, 1 / 3, 0]], atol=1e-15)
    taller = np.array([[0, 0, 1, 4, 2, 8, 0.5]])
    np.testing.assert_allclose(pairwise_iou_3d(box, taller), [[0.25]], atol=1e-15)


def test_swapping_the_sets_transposes_and_moving_the_scene_changes_nothing(columns):
    iou = IOU_OF_COLUMNS[columns]
    a, b = random_boxes(3, 40, columns), random_boxes(4, 50, columns)
    got = iou(a, b)
    np.testing.assert_allclose(iou(b, a).T, got, rtol=0, atol=1e-14)
    cos, sin = math.cos(0.7), math.sin(0.7)
    for boxes in (a, b):
        boxes[:, :2] = boxes[:, :2] @ np.array([[cos, sin], [-sin, cos]]) + [30, -20]
        boxes[:, -1] += 0.7
    np.testing.assert_allclose(iou(a, b), got, rtol=0, atol=1e-12)


def test_many_pairs_equal_the_same_pairs_in_small_parts(columns):
    iou = IOU_OF_COLUMNS[columns]
    a, b = random_boxes(5, 700, columns), random_boxes(6, 300, columns)
    np.testing.assert_array_equal(iou(a, b), np.concatenate([iou(part, b) for part in np.array_split(a, 35)]))


def test_process_may_fork_after_a_large_call():
    boxes = random_boxes(7, 500, 5)
    pairwise_iou_bev(boxes, boxes)
    context = multiprocessing.get_context("fork")
    child = context.Process(target=pairwise_iou_bev, args=(boxes, boxes), daemon=True)
    child.start()
    child.join(60)
    assert child.exitcode == 0


@pytest.mark.parametrize(("num_a", "num_b"), [(0, 3), (3, 0), (0, 0)])
def test_empty_sets(columns, num_a, num_b):
    got = IOU_OF_COLUMNS[columns](np.zeros((num_a, columns)), np.zeros((num_b, columns)))
    assert got.shape == (num_a, num_b)


def test_integers_and_views_are_taken_and_left_alone(columns):
    wide = np.arange(24 * 7).reshape(24, 7) % 5
    boxes = wide[::2, :columns]
    before = boxes.copy()
    got = IOU_OF_COLUMNS[columns](boxes, boxes)
    np.testing.assert_array_equal(got, IOU_OF_COLUMNS[columns](before.astype(float), before.astype(float)))
    np.testing.assert_array_equal(boxes, before)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_value_that_is_not_finite_is_named(columns, bad):
    boxes = random_boxes(8, 4, columns)
    boxes[2, 1] = bad
    with pytest.raises(ValueError, match=rf"b\[2\] has y = {bad}"):
        IOU_OF_COLUMNS[columns](np.zeros((1, columns)), boxes)


def test_a_negative_size_is_named():
    with pytest.raises(ValueError, match=r"a\[0\] has height = -1"):
        pairwise_iou_3d(np.array([[0, 0, 0, 1, 1, -1, 0]]), np.zeros((1, 7)))
    with pytest.raises(ValueError, match=r"a\[0\] has length = -2"):
        pairwise_iou_bev(np.array([[-3, -3, -2, 1, -1]]), np.zeros((1, 5)))


@pytest.mark.parametrize("shape", [(7,), (2, 6), (2, 7, 1)])
def test_a_wrong_shape_is_named(shape):
    with pytest.raises(ValueError, match=r"a must have shape \(N, 7\) with columns .*z_bottom"):
        pairwise_iou_3d(np.zeros(shape), np.zeros((1, 7)))


def test_public_names_exist_and_are_loaded_on_first_use():
    for name in lidar_rank.geometry.__all__:
        assert callable(getattr(lidar_rank.geometry, name))
    assert dir(lidar_rank.geometry) == lidar_rank.geometry.__all__
    with pytest.raises(AttributeError, match="no attribute 'iou'"):
        _ = lidar_rank.geometry.iou


def test_numpy_users_do_not_wait_for_torch():
    code = (
        "import sys, lidar_rank.geometry as g; print({'numba', 'torch'} & set(sys.modules));"
        "g.pairwise_iou_bev, g.nms_bev; print({'torch'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["set()", "set()"]
