"""Files of the detections of one scan."""

import json

import numpy as np

from lidar_rank.geometry.columns import BOX_COLUMNS
from lidar_rank.kitti import read_kitti_results
from lidar_rank.predictions import Detections, write_detections
from lidar_rank.simulation.camera import KITTI_CALIBRATION as CALIBRATION

BOXES = np.array([[12.0, 2.0, -1.7, 4.0, 1.6, 1.5, 0.3], [-9.0, 4.0, -1.6, 0.8, 0.6, 1.8, -2.0]])
FOUND = Detections(BOXES, np.array([0.9, 0.4]), np.array(["Car", "Pedestrian"]))
NOTHING = FOUND[:0]
POINTS = np.float32([[5, 0, -1.7, 0.2], [-20, 3, 0, 0.1], [300, 0, 0, 0]])


def test_json_holds_the_boxes(tmp_path):
    write_detections(tmp_path, "scan", FOUND, POINTS, 40.0)
    rows = json.loads((tmp_path / "scan.json").read_text())
    assert [(row["name"], row["score"]) for row in rows] == [("Car", 0.9), ("Pedestrian", 0.4)]
    np.testing.assert_allclose([[row[column] for column in BOX_COLUMNS] for row in rows], BOXES)


def test_text_is_in_the_axes_of_a_camera_in_the_place_of_the_sensor(tmp_path):
    write_detections(tmp_path, "scan", FOUND, POINTS, 40.0)
    objects = read_kitti_results(tmp_path, ["scan"])
    np.testing.assert_allclose(objects.location_m, [[-2, 1.7, 12], [-4, 1.6, -9]])
    np.testing.assert_allclose(objects.size_m, BOXES[:, 5:2:-1])
    np.testing.assert_allclose(objects.yaw_rad, -BOXES[:, 6] - np.pi / 2 + [0, 0])
    assert not (tmp_path / "camera").exists()


def test_calibrated_text_holds_what_the_camera_sees(tmp_path):
    write_detections(tmp_path, "scan", FOUND, POINTS, 40.0, calibration=CALIBRATION)
    objects = read_kitti_results(tmp_path / "camera", ["scan"])
    assert list(objects.name) == ["Car"]
    np.testing.assert_allclose(
        CALIBRATION.camera_boxes_to_lidar(objects.location_m, objects.size_m, objects.yaw_rad), BOXES[:1]
    )


def test_scan_without_detections_has_files_too(tmp_path):
    write_detections(tmp_path, "scan", NOTHING, POINTS, 40.0)
    assert json.loads((tmp_path / "scan.json").read_text()) == []
    assert (tmp_path / "scan.txt").read_text() == ""
    assert (tmp_path / "scan.png").stat().st_size > 1000


def test_table_has_a_row_for_each_box():
    lines = FOUND.format_table().splitlines()
    assert len(lines) == 3
    assert lines[1].split() == ["Car", "0.90", "12.00", "2.00", "-1.70", "4.00", "1.60", "1.50", "17"]
