"""Detection in single scans."""

import json
import os
import re
import weakref
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch

from lidar_rank import sparse
from lidar_rank.cli import main
from lidar_rank.geometry import pairwise_iou_bev
from lidar_rank.geometry.boxes import BEV_OF_3D
from lidar_rank.kitti import read_calibration, read_kitti_results, write_kitti_results
from lidar_rank.kitti.files import read_points
from lidar_rank.mm import predicting, running
from lidar_rank.mm.checkpoints import write_weights
from lidar_rank.mm.predicting import Detector, load_detector, predict, predict_files
from lidar_rank.page.verdicts import FALSE, FOUND
from lidar_rank.predictions import Detections
from lidar_rank.scans import SensorFrame
from lidar_rank.weights import shipped_models
from tests.page.cases import make_scans, moved, scan_results

EVERY_BOX = {"model.test_cfg.score_thr": 0.0}


@pytest.fixture
def checkpoint(small_config, brief, tmp_path):
    """Weights of a training of two steps."""
    running.train(small_config, work_dir=str(tmp_path / "training"), options={**brief, "train_cfg.max_epochs": 1})
    return tmp_path / "training" / "epoch_1.pth"


def test_boxes_of_the_front_equal_those_of_the_test_command(small_config, checkpoint, simulated_root, tmp_path):
    options = {**EVERY_BOX, "test_evaluator.point_cloud_range": None}
    running.test(small_config, str(checkpoint), out=str(tmp_path / "out"), options=options)
    detector = load_detector(small_config, checkpoint, options=EVERY_BOX)
    training = simulated_root / "training"
    frames = (simulated_root / "ImageSets" / "val.txt").read_text().split()
    for index, frame_id in enumerate(frames):
        calibration = read_calibration(training / "calib" / f"{frame_id}.txt")
        written = read_kitti_results(tmp_path / "out", frames).frame(index)
        expected = calibration.camera_boxes_to_lidar(written.location_m, written.size_m, written.yaw_rad)
        points = read_points(training / "velodyne_reduced" / f"{frame_id}.bin")
        found = predict(detector, points, min_score=0, full_circle=False)
        assert len(expected) > 10
        # The test command leaves out boxes that the camera does not see.
        rows = np.column_stack([found.lidar_boxes[:, :6], found.scores])
        written_rows = np.column_stack([expected[:, :6], written.score])
        difference = np.abs(rows[None] - written_rows[:, None]).max(axis=2)
        assert difference.min(axis=1).max() < 1e-3


def test_turned_network_covers_a_circle(small_config, checkpoint):
    detector = load_detector(small_config, checkpoint)
    angles = detector.view_angles_rad
    x_min, y_min, _, x_max, y_max, _ = detector.range_m
    direction = np.linspace(-np.pi, np.pi, 1000)
    circle = 0.999 * x_max * np.stack([np.cos(direction), np.sin(direction)])
    seen = np.zeros(len(direction), dtype=bool)
    for angle in angles:
        x = np.cos(angle) * circle[0] + np.sin(angle) * circle[1]
        y = -np.sin(angle) * circle[0] + np.cos(angle) * circle[1]
        seen |= (x > x_min) & (x <= x_max) & (y > y_min) & (y < y_max)
    # The arc beyond the patch's corners is within the next view, or nearly so.
    assert seen.mean() > 0.7
    assert len(angles) == 6


def test_scan_that_is_turned_by_a_view_gives_the_same_boxes_turned(small_config, checkpoint, simulated_root):
    detector = load_detector(small_config, checkpoint, options=EVERY_BOX)
    points = read_points(next((simulated_root / "training" / "velodyne").glob("*.bin")))
    turn = SensorFrame(rotate_z_rad=np.pi / 3)
    straight = predict(detector, points, min_score=0)
    turned = predict(detector, points, frame=turn, min_score=0)
    assert len(straight) == len(turned) > 10
    best = straight.lidar_boxes[:10][:, BEV_OF_3D], turned.lidar_boxes[:20][:, BEV_OF_3D]
    assert pairwise_iou_bev(*best).max(axis=1).min() > 0.9


def test_height_of_the_sensor_is_undone(small_config, checkpoint, simulated_root):
    detector = load_detector(small_config, checkpoint, options=EVERY_BOX)
    points = read_points(next((simulated_root / "training" / "velodyne").glob("*.bin")))
    raised = points - np.float32([0, 0, 0.5, 0])
    expected = predict(detector, points, min_score=0, full_circle=False)
    found = predict(detector, raised, frame=SensorFrame(height_m=2.23), min_score=0, full_circle=False)
    shift = expected.lidar_boxes[:5, :3] - found.lidar_boxes[:5, :3]
    np.testing.assert_allclose(shift, np.tile([0, 0, 0.5], (5, 1)), atol=0.02)


def test_scan_without_points_in_range_has_no_boxes(small_config, checkpoint):
    detector = load_detector(small_config, checkpoint, options=EVERY_BOX)
    assert len(predict(detector, np.float32([[500, 0, 0, 0]]), min_score=0)) == 0


@pytest.mark.parametrize(
    ("points", "message"),
    [(np.zeros((5, 3)), r"shape \(N, 4\).*got \(5, 3\)"), (np.full((5, 4), np.nan), "points must be finite")],
)
def test_wrong_points_are_refused(points, message):
    with pytest.raises(ValueError, match=message):
        predict(Detector(torch.nn.Identity(), ["Car"], (0, -10, -3, 10, 10, 1), 0.1), points)


def test_detector_that_does_not_fit_is_refused(small_config, checkpoint, tmp_path):
    with pytest.raises(ValueError, match="is not of this config's model"):
        load_detector("configs/second/second_kitti-car_tiny.py", checkpoint)
    with pytest.raises(FileNotFoundError, match="no checkpoint at"):
        load_detector(small_config, tmp_path / "none.pth")
    with pytest.raises(ValueError, match="is not the config of a detector of scans"):
        load_detector("configs/retinanet/retinanet_r18_small_bccd.py", checkpoint)


def test_command_writes_files_and_says_why_nothing_was_found(
    small_config, checkpoint, simulated_root, tmp_path, capsys
):
    scans = simulated_root / "training" / "velodyne"
    command = ["predict", small_config, str(scans), "--checkpoint", str(checkpoint), "--out", str(tmp_path / "out")]
    labels = [
        "--calib",
        str(simulated_root / "training" / "calib"),
        "--labels",
        str(simulated_root / "training/label_2"),
    ]
    assert main([*command, *labels, "--page"]) == 0
    names = sorted(path.stem for path in scans.iterdir())
    for folder, suffix in (("out", "json"), ("out", "txt"), ("out", "png"), ("out/camera", "txt")):
        assert sorted(path.stem for path in (tmp_path / folder).glob(f"*.{suffix}")) == names
    assert json.loads((tmp_path / "out" / f"{names[0]}.json").read_text()) == []
    printed = capsys.readouterr().out
    assert "of height; no box scores 0.3" in printed
    assert f"'lidar-rank doctor {scans / names[0]}.bin' says what differs from KITTI's scans" in printed
    assert "index.html shows 6 of 6 scans in 3D" in printed
    page = (tmp_path / "out" / "index.html").read_text()
    assert page.count('<i hidden id="points-') == 6
    assert '"counted": [true]' in page


def test_verdicts_of_the_page_are_at_the_overlap_of_the_evaluation(tmp_path, monkeypatch):
    """A class 'car' was found at an IoU of 0.5, because KITTI's is called 'Car'."""
    folder = make_scans(tmp_path / "training", ["000000"], images=False)
    truth = scan_results(folder, ["000000"]).objects
    write_kitti_results(folder / "label_2", replace(truth, score=np.zeros(len(truth))))
    found = Detections(np.stack([moved(0.9, 0), moved(15, -5)]), np.array([0.9, 0.8]), np.array(["car", "car"]))
    monkeypatch.setattr(predicting, "predict", lambda *_args, **_options: found)
    detector = Detector(torch.nn.Identity(), ["car", "tree"], (0, -40, -3, 70, 40, 1), 0.1)
    files = [folder / "velodyne/000000.bin"]
    predict_files(detector, files, tmp_path, calibrations=folder / "calib", page=True, labels=folder / "label_2")
    page = (tmp_path / "index.html").read_text()
    assert '"min_overlap": {"car": 0.7, "tree": 0.5}' in page
    verdicts = [
        (int(verdict), float(overlap)) for verdict, overlap in re.findall(r'"verdict": (.), "overlap": ([\d.]+)', page)
    ]
    assert verdicts == [(FALSE, pytest.approx(3.1 / 4.9, abs=1e-3)), (FOUND, pytest.approx(1, abs=1e-3))]


def test_the_page_keeps_no_scan_in_memory(tmp_path, monkeypatch):
    """It kept all, of which it shows a part: 2 MB each of a 64-beam sensor."""
    scans, kept = [], []

    def read(*_args, **_options):
        kept.append(sum(scan() is not None for scan in scans))
        points = np.random.default_rng(0).random((50_000, 4), dtype=np.float32)
        scans.append(weakref.ref(points))
        return points

    none = Detections(np.zeros((0, 7)), np.zeros(0), np.zeros(0, dtype=np.str_))
    monkeypatch.setattr(predicting, "read_scan", read)
    monkeypatch.setattr(predicting, "predict", lambda *_args, **_options: none)
    monkeypatch.setattr(predicting, "write_detections", lambda *_args, **_options: None)
    detector = Detector(torch.nn.Identity(), ["Car"], (0, -40, -3, 70, 40, 1), 0.1)
    predict_files(detector, [Path(f"{number}.bin") for number in range(10)], tmp_path, page=True)
    assert len(kept) == 10
    assert max(kept) <= 1, "of the scan before"
    assert len(re.findall('<i hidden id="points-', (tmp_path / "index.html").read_text())) == 10


def test_command_refuses_before_the_host_is_loaded(small_config, tmp_path, capsys):
    assert main(["predict", small_config, str(tmp_path / "none.bin"), "--checkpoint", "none.pth"]) == 2
    assert "no scan at" in capsys.readouterr().err


def test_the_cpu_gets_its_own_sparse_convolution(simulated_root, monkeypatch, tmp_path):
    """Without it, a machine with a GPU would load the layers that are for the GPU."""
    seen = []

    def load(*_args, **_kwargs):
        seen.append(os.environ.get("LIDAR_RANK_SPARSE"))
        raise ValueError("far enough")

    monkeypatch.setattr(predicting, "load_detector", load)
    scan = next((simulated_root / "training" / "velodyne").iterdir())
    command = ["predict", "second-car-tiny", str(scan), "--out", str(tmp_path / "out")]
    for device, chosen in (("cpu", None), ("cuda", None), ("cpu", "spconv")):
        monkeypatch.setenv("LIDAR_RANK_SPARSE", chosen or "")
        assert main([*command, "--device", device]) == 2
    assert seen == ["native", "", "spconv"]


def test_layers_for_a_gpu_alone_are_refused_on_a_cpu(monkeypatch):
    monkeypatch.setattr(sparse, "backend", lambda: ModuleType("spconv_triton.pytorch"))
    with pytest.raises(ValueError, match="set LIDAR_RANK_SPARSE=native before lidar_rank is imported"):
        load_detector("second-car-tiny", device="cpu")


def test_safetensors_hold_the_weights_of_the_checkpoint_in_half_precision(small_config, checkpoint, tmp_path):
    """The host rearranges weights of sparse convolutions that do not say the version of their layout."""
    weights = torch.load(checkpoint, map_location="cpu")["state_dict"]
    write_weights(weights, tmp_path / "weights.safetensors")
    loaded = load_detector(small_config, tmp_path / "weights.safetensors").model.state_dict()
    for name, value in weights.items():
        want = value.half().to(value.dtype) if value.is_floating_point() else value
        assert torch.equal(loaded[name], want), name


@pytest.fixture(scope="module")
def simulated(tmp_path_factory):
    """Files of scans, and the boxes in them."""
    from lidar_rank.kitti.labelled import read_labelled_scans
    from lidar_rank.simulation import simulate_kitti

    root = tmp_path_factory.mktemp("simulated") / "kitti"
    simulate_kitti(root, scans=3, seed=21, val=1, images=False, jobs=1)
    return read_labelled_scans(root)


@pytest.mark.parametrize("name", shipped_models())
def test_shipped_model_finds_a_simulated_car(name, simulated):
    files, boxes = simulated
    detector = load_detector(name)
    found = [predict(detector, read_points(file), min_score=0.5, full_circle=False) for file in files]
    overlaps = [
        pairwise_iou_bev(hits.lidar_boxes[:, BEV_OF_3D], true[:, BEV_OF_3D])
        for hits, true in zip(found, boxes, strict=True)
        if len(hits) and len(true)
    ]
    assert max(float(overlap.max()) for overlap in overlaps) > 0.7


def test_intensities_of_another_unit_are_warned_of_and_give_no_infinite_boxes(simulated_root):
    """With intensities of 16 bits a box overflowed, and non-maximum suppression refused it without naming a scan."""
    points = read_points(next((simulated_root / "training" / "velodyne").glob("*.bin")))
    detector = load_detector("second-car-tiny")
    with pytest.warns(UserWarning, match=r"intensities reach 6.*, and networks expect 0 to 1: .*--intensity-scale"):
        found = predict(detector, points * np.float32([1, 1, 1, 65535]))
    assert np.isfinite(found.lidar_boxes).all()
