"""Predicted LiDAR boxes as KITTI detections, and the range of a detector."""

import numpy as np
import pytest

from lidar_rank.evaluation import evaluate_kitti
from lidar_rank.kitti import join_frames, objects_from_lidar, read_calibration, read_kitti_labels
from lidar_rank.kitti.calibration import format_calibration
from lidar_rank.kitti.predictions import box_corners
from lidar_rank.kitti.range import ignore_outside_range
from lidar_rank.simulation.camera import KITTI_CALIBRATION

IMAGE = (1242, 375)
AHEAD = [15.0, 1.0, -1.7, 4.0, 1.6, 1.5, 0.4]
BEHIND = [-15.0, 1.0, -1.7, 4.0, 1.6, 1.5, 0.4]
ASIDE = [5.0, 30.0, -1.7, 4.0, 1.6, 1.5, 0.4]
CLOSE = [4.5, 2.5, -1.7, 4.0, 1.6, 1.5, 0.0]


def detections(*boxes: list[float], frame_id: str = "000001"):
    scores = np.linspace(0.9, 0.5, len(boxes))
    return objects_from_lidar(frame_id, boxes, ["Car"] * len(boxes), KITTI_CALIBRATION, IMAGE, scores=scores)


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


def ground_truth(*boxes: list[float], frame_id: str = "000001", **columns):
    return objects_from_lidar(frame_id, boxes, ["Car"] * len(boxes), KITTI_CALIBRATION, IMAGE, **columns)


def test_arrays_of_several_frames_become_ap():
    beside = [20.0, -3.0, -1.7, 4.0, 1.6, 1.5, 0.1]
    truth = join_frames(
        [ground_truth(AHEAD, beside), ground_truth(frame_id="000002"), ground_truth(CLOSE, frame_id="7")]
    )
    found = join_frames([detections(AHEAD), detections(AHEAD, frame_id="000002"), detections(CLOSE, frame_id="7")])
    curve = evaluate_kitti(truth, found, classes=["Car"], sampling="recall").curves["Car"]["3d"][1]
    assert curve.num_objects == 3, "without occlusion and truncation every object that is tall enough counts"
    assert curve.counts.true_positives.max() == 2
    assert curve.counts.false_positives.max() == 1


def test_difficulty_follows_the_occlusion_and_truncation_that_are_given():
    levels = []
    for columns in ({}, {"occlusion": [1]}, {"truncation": [0.4]}, {"occlusion": [3]}):
        truth = ground_truth(AHEAD, **columns)
        curves = evaluate_kitti(truth, detections(), classes=["Car"]).curves["Car"]["3d"]
        levels.append([curve.num_objects for curve in curves])
    assert levels == [[1, 1, 1], [0, 1, 1], [0, 0, 1], [0, 0, 0]]


def test_columns_of_visible_boxes_stay_together():
    truth = objects_from_lidar(
        "000001",
        np.array([[*BEHIND, 0.5], [*AHEAD, 0.5]], dtype=np.float32),  # one more column, a velocity
        ["Van", "Car"],
        KITTI_CALIBRATION,
        IMAGE,
        occlusion=np.array([2, 1]),
    )
    assert (truth.name.tolist(), truth.occlusion.tolist()) == (["Car"], [1.0])
    assert np.isnan(truth.score).all()
    assert detections(AHEAD).truncation.tolist() == [-1.0]


@pytest.mark.real
def test_boxes_of_real_labels_come_back(kitti_root):
    folder = kitti_root / "training"
    labels = read_kitti_labels(folder / "label_2", ["000010"])
    rows = np.flatnonzero(labels.name == "Car")
    calibration = read_calibration(folder / "calib" / "000010.txt")
    boxes = calibration.camera_boxes_to_lidar(labels.location_m[rows], labels.size_m[rows], labels.yaw_rad[rows])
    objects = objects_from_lidar(
        "000010", boxes, labels.name[rows], calibration, IMAGE, occlusion=labels.occlusion[rows]
    )
    assert len(objects) == len(rows) > 3
    np.testing.assert_allclose(objects.location_m, labels.location_m[rows], atol=1e-9)
    assert np.median(np.abs(objects.bbox_px - labels.bbox_px[rows])) < 3
    assert np.abs(np.cos(objects.alpha_rad - labels.alpha_rad[rows])).min() > 0.99


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"lidar_boxes": np.zeros((1, 6))}, r"lidar_boxes of frame 000001 must have shape \(N, 7\)"),
        ({"lidar_boxes": [[*AHEAD[:3], 4.0, 0.0, 1.5, 0.4]]}, r"lidar_boxes of frame 000001\[0\] has width = 0.0"),
        ({"names": ["Car", "Car"]}, "names of frame 000001 must be 1, one for each box"),
        ({"scores": [0.5, 0.5]}, "scores of frame 000001 must be 1 finite numbers"),
        ({"scores": [np.nan]}, "scores of frame 000001 must be 1 finite numbers"),
        ({"occlusion": 0}, "occlusion of frame 000001 must be 1 finite numbers"),
    ],
)
def test_arrays_that_do_not_fit_are_named(change, message):
    arguments = {"lidar_boxes": [AHEAD], "names": ["Car"], "calibration": KITTI_CALIBRATION, "image_size": IMAGE}
    with pytest.raises(ValueError, match=message):
        objects_from_lidar("000001", **(arguments | change))
