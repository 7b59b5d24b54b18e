"""Rectangles around boxes, by hand and against Shapely's bounds."""

import math

import numpy as np
import pytest

from lidar_rank.geometry.boxes import bev_bounds, nearest_bev
from tests.oracles.rotated_iou import polygons


@pytest.mark.parametrize(
    ("yaw", "across"),
    [
        (0, False),
        (0.78, False),
        (0.79, True),
        (1.57, True),
        (2.35, True),
        (2.36, False),
        (-0.79, True),
        (50 * math.pi, False),
    ],
)
def test_nearest_bev_turns_to_the_nearest_quarter(yaw, across):
    half = (1, 2) if across else (2, 1)
    rectangle = nearest_bev(np.array([[10, 20, 5, 4, 2, 1, yaw]]))
    np.testing.assert_array_equal(rectangle, [[10 - half[0], 20 - half[1], 10 + half[0], 20 + half[1]]])


def test_nearest_bev_keeps_float32():
    assert nearest_bev(np.ones((3, 7), np.float32)).dtype == np.float32


def test_bev_bounds_are_those_of_the_polygon():
    rng = np.random.default_rng(0)
    boxes = np.column_stack([rng.uniform(-50, 50, (500, 3)), rng.uniform(0.1, 9, (500, 3)), rng.uniform(-9, 9, 500)])
    shapes = polygons(boxes[:, [0, 1, 3, 4, 6]], origin=np.zeros((500, 2)))
    np.testing.assert_allclose(bev_bounds(boxes), [shape.bounds for shape in shapes], atol=1e-12)


def test_no_boxes_have_no_rectangles():
    assert nearest_bev(np.zeros((0, 7))).shape == bev_bounds(np.zeros((0, 7))).shape == (0, 4)
