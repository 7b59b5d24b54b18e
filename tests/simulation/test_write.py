import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
from collections import namedtuple
from dataclasses import replace
from pathlib import Path

import matplotlib.image
import numpy as np
import pytest
from numpy.testing import assert_allclose

from lidar_rank.evaluation import evaluate_kitti
from lidar_rank.kitti import prepare_kitti
from lidar_rank.kitti.calibration import format_calibration, read_calibration
from lidar_rank.kitti.files import read_png_size, read_points
from lidar_rank.kitti.labels import read_kitti_labels
from lidar_rank.kitti.root import read_splits
from lidar_rank.simulation import simulate_image, simulate_kitti, write
from lidar_rank.simulation.camera import IMAGE_SIZE, KITTI_CALIBRATION
from lidar_rank.simulation.sizes import CLASSES
from lidar_rank.simulation.write import BYTES_PER_IMAGE, BYTES_PER_SCAN


def digests(root: Path) -> dict[str, str]:
    files = (path for path in sorted(root.rglob("*")) if path.is_file())
    return {str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def test_root_has_kitti_format_and_all_files_can_be_read(simulated_root):
    splits = read_splits(simulated_root)
    assert {split: len(frames) for split, frames in splits.items()} == {"train": 8, "val": 2, "trainval": 10}
    for frame in splits["trainval"]:
        points = read_points(frame.points_path).astype(np.float64)
        assert 10_000 < len(points) < 30_000
        assert KITTI_CALIBRATION.in_image(points[:, :3], IMAGE_SIZE).mean() > 0.8, "front view: what the image shows"
        calibration = read_calibration(frame.calibration_path)
        assert_allclose(calibration.projections, KITTI_CALIBRATION.projections)
        assert_allclose(calibration.lidar_to_camera_matrix, KITTI_CALIBRATION.lidar_to_camera_matrix)
    names = [frame.name for frame in splits["trainval"]]
    labels = read_kitti_labels(simulated_root / "training" / "label_2", names)
    assert set(labels.name) <= {*CLASSES, "DontCare"}
    assert (labels.name == "Car").sum() > 5
    note = json.loads((simulated_root / "simulation.json").read_text())
    assert (note["scans"], note["seed"], note["val"], note["images"]) == (10, 5, 2, False)


def test_same_seed_gives_the_same_bytes_with_any_number_of_jobs(tmp_path, simulated_root):
    simulate_kitti(tmp_path / "two", scans=10, seed=5, jobs=2, images=False)
    assert digests(tmp_path / "two") == digests(simulated_root)


def be_killed(*_: object, **__: object) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def test_a_killed_process_is_an_error_and_no_endless_wait(tmp_path, monkeypatch):
    monkeypatch.setattr(write, "write_frame", be_killed)
    with pytest.raises(ChildProcessError, match=r"one of 2 processes that simulate was killed.*: use fewer jobs"):
        simulate_kitti(tmp_path, scans=10, jobs=2)


def test_frames_depend_on_seed_and_number_alone(tmp_path, simulated_root):
    simulate_kitti(tmp_path / "short", scans=2, seed=5, images=True, val=1)
    simulate_kitti(tmp_path / "other", scans=2, seed=6, images=False, val=0)
    long, short, other = digests(simulated_root), digests(tmp_path / "short"), digests(tmp_path / "other")
    for name in ("velodyne/000001.bin", "label_2/000001.txt", "calib/000001.txt"):
        assert short[f"training/{name}"] == long[f"training/{name}"], "images and length change no scan"
    assert other["training/velodyne/000001.bin"] != long["training/velodyne/000001.bin"]
    assert len({digest for name, digest in long.items() if "velodyne" in name}) == 10, "no frame is another one's copy"
    assert read_png_size(tmp_path / "short/training/image_2/000001.png") == IMAGE_SIZE
    written = (matplotlib.image.imread(tmp_path / "short/training/image_2/000001.png") * 255).round()
    np.testing.assert_array_equal(simulate_image(1, seed=5), written)
    assert "ImageSets/val.txt" not in other


def test_a_full_view_surrounds_the_sensor(tmp_path):
    simulate_kitti(tmp_path / "full", scans=1, seed=5, images=False, view="full")
    points = read_points(tmp_path / "full/training/velodyne/000000.bin")
    assert len(points) > 80_000
    azimuth = np.degrees(np.arctan2(points[:, 1], points[:, 0]))
    assert (np.histogram(azimuth, np.arange(-180, 181, 30))[0] > 3000).all()


def test_simulated_root_passes_preparation_and_its_labels_evaluate_to_100(tmp_path, simulated_root):
    root = shutil.copytree(simulated_root, tmp_path / "root")
    summary = prepare_kitti(root, image_size=IMAGE_SIZE, jobs=1, progress=False)
    assert summary.frames == {"train": 8, "val": 2, "trainval": 10}
    names = [f"{i:06d}" for i in range(10)]
    truth = read_kitti_labels(root / "training" / "label_2", names)
    lines = {name: (root / "training/label_2" / f"{name}.txt").read_text().splitlines() for name in names}
    results = tmp_path / "results"
    results.mkdir()
    for name, rows in lines.items():
        kept = [f"{row} {1 - k / 100:.2f}\n" for k, row in enumerate(rows) if not row.startswith("DontCare")]
        (results / f"{name}.txt").write_text("".join(kept))
    scores = evaluate_kitti(truth, read_kitti_labels(results, names), classes=("Car",), sampling="recall")
    assert scores.ap_percent()["Car"]["3d"]["R40"] == pytest.approx([100, 100, 100])


def test_an_earlier_simulation_is_replaced_and_other_files_stay(tmp_path):
    out = tmp_path / "out"
    simulate_kitti(out, scans=3, seed=0, images=False)
    (out / "kitti_infos_train.pkl").write_text("of the earlier simulation")
    (out / "notes.txt").write_text("mine")
    simulate_kitti(out, scans=2, seed=0, images=False)
    assert len(list((out / "training/velodyne").iterdir())) == 2
    assert not (out / "kitti_infos_train.pkl").exists()
    assert (out / "notes.txt").read_text() == "mine"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"scans": 0}, "scans must be from 1"),
        ({"scans": -3}, "scans must be from 1"),
        ({"scans": 5, "jobs": 0}, "jobs must be at least 1"),
        ({"scans": 5, "seed": -1}, "seed must be at least 0"),
        ({"scans": 5, "val": 5}, "at least one scan is left for training"),
        ({"scans": 5, "view": "back"}, "view must be one of front, full, got 'back'"),
        ({"scans": 5, "classes": ("Car", "Boat")}, "unknown classes Boat: choose from Car"),
    ],
)
def test_bad_setting_is_named_and_nothing_is_written(tmp_path, options, message):
    with pytest.raises(ValueError, match=message):
        simulate_kitti(tmp_path / "out", **options)
    assert not (tmp_path / "out").exists()


def test_folder_with_foreign_files_is_left_alone(tmp_path):
    (tmp_path / "photo.png").write_bytes(b"precious")
    with pytest.raises(FileExistsError, match="no simulated data set"):
        simulate_kitti(tmp_path, scans=1)
    assert [path.name for path in tmp_path.iterdir()] == ["photo.png"]
    with pytest.raises(FileExistsError, match="is a file"):
        simulate_kitti(tmp_path / "photo.png", scans=1)
    assert (tmp_path / "photo.png").read_bytes() == b"precious"


def test_too_little_disk_is_seen_before_anything_is_written(tmp_path, monkeypatch):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(10**9, 10**9, 10**6))
    with pytest.raises(OSError, match="needs about 45 MB but only 1 MB are free"):
        simulate_kitti(tmp_path / "deep" / "out", scans=100, images=False)
    assert not (tmp_path / "deep").exists()


def test_disk_estimate_is_an_upper_bound_of_a_frame(tmp_path):
    for view in ("front", "full"):
        simulate_kitti(tmp_path / view, scans=1, seed=5, view=view, images=view == "front")
        sizes = {path.parent.name: path.stat().st_size for path in (tmp_path / view / "training").rglob("*.*")}
        assert 0.4 < (sizes["velodyne"] + sizes["label_2"] + sizes["calib"]) / BYTES_PER_SCAN[view] < 1
        if view == "front":
            assert 0.2 < sizes["image_2"] / BYTES_PER_IMAGE < 1


def test_broken_calibration_is_refused(tmp_path):
    broken = tmp_path / "calib.txt"
    broken.write_text("P0: 1 2 3\n")
    with pytest.raises(ValueError, match=r"calib\.txt:1: P0 has 3 values"):
        simulate_kitti(tmp_path / "out", scans=1, calibration=broken)
    with pytest.raises(FileNotFoundError):
        simulate_kitti(tmp_path / "out", scans=1, calibration=tmp_path / "absent.txt")
    turned = np.diag([-1.0, 1.0, -1.0]) @ KITTI_CALIBRATION.lidar_to_reference
    looks_back = replace(KITTI_CALIBRATION, lidar_to_reference=turned)
    broken.write_text(format_calibration(looks_back))
    with pytest.raises(ValueError, match=r"no beam of the scanner falls into the image: .* looks along \[-1\.0, "):
        simulate_kitti(tmp_path / "out", scans=1, calibration=broken)
    assert not (tmp_path / "out").exists()


@pytest.mark.real
def test_another_calibration_is_used_and_written(tmp_path, kitti_root):
    given = kitti_root / "training/calib/000000.txt"
    simulate_kitti(tmp_path / "out", scans=1, seed=5, images=False, calibration=given)
    written = read_calibration(tmp_path / "out/training/calib/000000.txt")
    assert_allclose(written.projections, read_calibration(given).projections)
    assert abs(written.projections - KITTI_CALIBRATION.projections).max() > 1


@pytest.mark.real
def test_built_in_calibration_is_that_of_a_real_frame(kitti_root):
    real = read_calibration(kitti_root / "training/calib/000007.txt")
    assert_allclose(KITTI_CALIBRATION.projections, real.projections)
    assert_allclose(KITTI_CALIBRATION.lidar_to_camera_matrix, real.lidar_to_camera_matrix)
    assert_allclose(KITTI_CALIBRATION.imu_to_lidar, real.imu_to_lidar)


def test_shards_make_the_bytes_of_one_process(tmp_path, simulated_root):
    """Two at the same time, as in a Slurm array, then the third; and one again, as after a kill."""
    command = [sys.executable, "-m", "lidar_rank.cli", "simulate", str(tmp_path / "parts"), "--scans", "10"]
    command += ["--seed", "5", "--jobs", "1", "--no-images", "--shard"]
    processes = [subprocess.Popen([*command, shard], stderr=subprocess.DEVNULL) for shard in ("1/3", "3/3")]
    assert [process.wait() for process in processes] == [0, 0]
    options = {"scans": 10, "seed": 5, "images": False}
    with pytest.raises(FileNotFoundError, match="names 3 of 8 frames that have no file"):
        prepare_kitti(tmp_path / "parts", image_size=IMAGE_SIZE)
    simulate_kitti(tmp_path / "parts", shard=(2, 3), **options)
    assert digests(tmp_path / "parts") == digests(simulated_root)
    (tmp_path / "parts/training/velodyne/000002.bin").write_bytes(b"cut off")
    simulate_kitti(tmp_path / "parts", shard=(3, 3), **options)
    assert digests(tmp_path / "parts") == digests(simulated_root)


def test_a_shard_joins_no_other_data_set(tmp_path):
    simulate_kitti(tmp_path, scans=2, seed=1, images=False, shard=(1, 2))
    with pytest.raises(FileExistsError, match="holds a simulation with other settings"):
        simulate_kitti(tmp_path, scans=2, seed=2, images=False, shard=(2, 2))
    assert len(list((tmp_path / "training/velodyne").iterdir())) == 1, "nothing is removed"
    for shard in ((0, 2), (3, 2), (1, 0)):
        with pytest.raises(ValueError, match="shard must be K of N with K from 1 to N"):
            simulate_kitti(tmp_path, scans=2, shard=shard)
