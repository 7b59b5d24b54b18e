"""Points in boxes against Shapely's polygons and hand-made cases."""

import numpy as np
import pytest
from shapely import affinity, contains_xy
from shapely.geometry import box as rectangle

from lidar_rank.geometry.points import points_in_boxes


def random_boxes(rng: np.random.Generator, count: int) -> np.ndarray:
    center = rng.uniform(-8, 8, (count, 3))
    size = rng.uniform(0.3, 6, (count, 3))
    return np.column_stack([center, size, rng.uniform(-7, 7, count)])


def test_equals_shapely_footprint_times_height():
    rng = np.random.default_rng(0)
    points, boxes = rng.uniform(-10, 10, (8000, 4)).astype(np.float32), random_boxes(rng, 40)
    expected = []
    for x, y, z_bottom, length, width, height, yaw in boxes:
        footprint = rectangle(x - length / 2, y - width / 2, x + length / 2, y + width / 2)
        footprint = affinity.rotate(footprint, yaw, origin=(x, y), use_radians=True)
        z = points[:, 2].astype(np.float64)
        expected.append(contains_xy(footprint, points[:, 0], points[:, 1]) & (z > z_bottom) & (z < z_bottom + height))
    inside = points_in_boxes(points, boxes)
    assert inside.sum() > 1000
    np.testing.assert_array_equal(inside, expected)


def test_yaw_turns_the_length_from_x_to_y():
    ahead_left, ahead_right = [1.2, 1.2, 0.5], [1.2, -1.2, 0.5]
    box = np.array([[0.0, 0.0, 0.0, 4.0, 1.0, 1.0, np.pi / 4]])
    assert points_in_boxes(np.array([ahead_left, ahead_right]), box).tolist() == [[True, False]]


@pytest.mark.parametrize("face_point", [(2, 0, 0.5), (-2, 0, 0.5), (0, 1, 0.5), (0, -1, 0.5), (0, 0, 0), (0, 0, 1.5)])
def test_a_point_on_a_face_is_outside(face_point):
    point, box = np.array([face_point], dtype=float), np.array([[0, 0, 0, 4, 2, 1.5, 0.0]])
    towards_center = point + 1e-6 * (np.array([0, 0, 0.75]) - point)
    assert not points_in_boxes(point, box).any()
    assert points_in_boxes(towards_center, box).all()


def test_no_points_or_no_boxes_give_an_empty_result():
    assert points_in_boxes(np.zeros((0, 4)), np.ones((3, 7))).shape == (3, 0)
    assert points_in_boxes(np.zeros((5, 4)), np.ones((0, 7))).shape == (0, 5)


@pytest.mark.parametrize(("points_shape", "boxes_shape"), [((4,), (1, 7)), ((4, 2), (1, 7)), ((4, 3), (1, 5))])
def test_wrong_shapes_are_named(points_shape, boxes_shape):
    wrong = points_shape if boxes_shape == (1, 7) else boxes_shape
    with pytest.raises(ValueError, match=rf"got \({wrong[0]},"):
        points_in_boxes(np.zeros(points_shape), np.zeros(boxes_shape))
