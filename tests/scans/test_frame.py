"""The frame of a sensor and that of KITTI's LiDAR."""

import numpy as np
import pytest

from lidar_rank.geometry import points_in_boxes
from lidar_rank.scans import SensorFrame


def test_turn_height_and_intensity_of_one_point():
    frame = SensorFrame(height_m=2.0, rotate_z_rad=np.pi / 2, intensity_scale=1 / 255)
    moved = frame.points_to_kitti(np.float32([[10, 0, -2, 51]]))
    np.testing.assert_allclose(moved, [[0, 10, -1.73, 0.2]], atol=1e-6)


def test_boxes_come_back_around_the_same_points():
    rng = np.random.default_rng(0)
    points = rng.uniform(-10, 10, (500, 4)).astype(np.float32)
    boxes = np.array([[2.0, 1.0, -3.0, 6.0, 3.0, 5.0, 0.4], [-4.0, 5.0, -6.0, 8.0, 4.0, 9.0, -2.9]])
    frame = SensorFrame(height_m=2.4, rotate_z_rad=1.1)
    inside = points_in_boxes(frame.points_to_kitti(points), boxes)
    back = frame.boxes_from_kitti(boxes)
    np.testing.assert_array_equal(points_in_boxes(points, back), inside)
    assert (np.abs(back[:, 6]) <= np.pi).all()
    np.testing.assert_allclose(frame.boxes_to_kitti(back), boxes, atol=1e-12)


@pytest.mark.parametrize(
    "wrong", [{"height_m": 0.0}, {"intensity_scale": -1.0}, {"rotate_z_rad": np.nan}, {"height_m": np.inf}]
)
def test_impossible_frames_are_refused(wrong):
    with pytest.raises(ValueError, match=f"{next(iter(wrong))} must be a finite number"):
        SensorFrame(**wrong)
