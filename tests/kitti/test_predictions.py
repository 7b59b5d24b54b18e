"""Predicted LiDAR boxes as KITTI detections, and the range of a detector."""

import numpy as np
import pytest

from lidar_rank.evaluation import evaluate_kitti
from lidar_rank.kitti.calibration import format_calibration
from lidar_rank.kitti.predictions import box_corners, detections_of_frame
from lidar_rank.kitti.range import ignore_outside_range
from lidar_rank.simulation.camera import KITTI_CALIBRATION

IMAGE = (1242, 375)
AHEAD = [15.0, 1.0, -1.7, 4.0, 1.6, 1.5, 0.4]
BEHIND = [-15.0, 1.0, -1.7, 4.0, 1.6, 1.5, 0.4]
ASIDE = [5.0, 30.0, -1.7, 4.0, 1.6, 1.5, 0.4]
CLOSE = [4.5, 2.5, -1.7, 4.0, 1.6, 1.5, 0.0]


def detections(*boxes: list[float], frame_id: str = "000001"):
    scores = np.linspace(0.9, 0.5, len(boxes))
    return detections_of_frame(
        frame_id, np.array(boxes).reshape(-1, 7), ["Car"] * len(boxes), scores, KITTI_CALIBRATION, IMAGE
    )


def test_corners_of_a_turned_box():
    corners = box_corners(np.array([[10.0, 2.0, -1.0, 4.0, 2.0, 1.5, np.pi / 2]]))[0]
    assert corners.min(axis=0) == pytest.approx([9.0, 0.0, -1.0])
    assert corners.max(axis=0) == pytest.approx([11.0, 4.0, 0.5])


def test_box_comes_back_through_the_camera_frame():
    row = detections(AHEAD)
    back = KITTI_CALIBRATION.camera_boxes_to_lidar(row.location_m, row.size_m, row.yaw_rad)
    assert back[0] == pytest.approx(AHEAD)
    assert row.alpha_rad[0] == pytest.approx(row.yaw_rad[0] - np.arctan2(row.location_m[0, 0], row.location_m[0, 2]))


def test_image_box_encloses_the_projected_corners():
    row = detections(AHEAD)
    pixels, _ = KITTI_CALIBRATION.lidar_to_image(box_corners(np.array([AHEAD]))[0])
    assert row.bbox_px[0] == pytest.approx([*pixels.min(axis=0), *pixels.max(axis=0)])


def test_boxes_that_the_camera_does_not_see_are_left_out():
    row = detections(BEHIND, AHEAD, ASIDE)
    assert row.score == pytest.approx([0.7])


def test_box_across_the_image_border_is_cut_there():
    left, top, right, bottom = detections(CLOSE).bbox_px[0]
    assert left == 0
    assert bottom == IMAGE[1] - 1
    assert 0 < right < IMAGE[0]
    assert 0 < top < bottom


def test_no_boxes_make_an_empty_frame():
    assert len(detections()) == 0


def test_objects_outside_the_range_are_neither_hits_nor_misses(tmp_path):
    (tmp_path / "000001.txt").write_text(format_calibration(KITTI_CALIBRATION))
    far = [50.0, 1.0, -1.7, 4.0, 3.0, 4.5, 0.4]
    objects = detections(AHEAD, far)
    found = detections(AHEAD)
    kept = ignore_outside_range(objects, tmp_path, (0, -20, -3, 40, 20, 1))
    whole = evaluate_kitti(objects, found, classes=["Car"], sampling="recall").ap_percent()["Car"]["3d"]["R40"]
    inside = evaluate_kitti(kept, found, classes=["Car"], sampling="recall").ap_percent()["Car"]["3d"]["R40"]
    assert whole == pytest.approx([50.0] * 3)
    assert inside == pytest.approx([100.0] * 3)
