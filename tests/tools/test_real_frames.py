"""The archive of frames that travels to another machine."""

import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_allclose

from lidar_rank.kitti import prepare_kitti

SCRIPT = Path(__file__).parents[2] / "tools" / "bench" / "real_frames.py"


def run(*arguments: object) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, SCRIPT, *map(str, arguments)], capture_output=True, text=True)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Two prepared frames, one in each split, with points at both ends of the range."""
    training = tmp_path / "kitti" / "training"
    for folder in ("velodyne", "label_2", "calib"):
        (training / folder).mkdir(parents=True)
    (tmp_path / "kitti" / "ImageSets").mkdir()
    rng = np.random.default_rng(0)
    for name, split in (("000003", "train"), ("000007", "val")):
        points = rng.uniform([0, -40, -3, 0], [80, 40, 1, 1], (4000, 4)).round(3).astype(np.float32)
        points[:, 3] = points[:, 3].round(2)
        points.tofile(training / "velodyne" / f"{name}.bin")
        (training / "label_2" / f"{name}.txt").write_text(
            "Car 0.00 0 0.00 500.00 150.00 600.00 220.00 1.50 1.60 3.90 0.00 1.70 20.00 0.00\n"
        )
        (training / "calib" / f"{name}.txt").write_text(CALIBRATION)
        (tmp_path / "kitti" / "ImageSets" / f"{split}.txt").write_text(f"{name}\n")
    (tmp_path / "kitti" / "ImageSets" / "trainval.txt").write_text("000003\n000007\n")
    prepare_kitti(tmp_path / "kitti", image_size=(1242, 375), progress=False)
    return tmp_path / "kitti"


P2 = "721.5 0 609.6 44.9 0 721.5 172.9 0.2 0 0 1 0.003"
CALIBRATION = "".join(f"P{camera}: {P2}\n" for camera in range(4)) + (
    "R0_rect: 1 0 0 0 1 0 0 0 1\nTr_velo_to_cam: 0 -1 0 0 0 0 -1 -0.08 1 0 0 -0.27\n"
    "Tr_imu_to_velo: 1 0 0 -0.8 0 1 0 0.3 0 0 1 -0.8\n"
)


def test_frames_come_back_with_points_to_the_millimetre_and_all_that_a_test_needs(root, tmp_path):
    assert run("pack", root, tmp_path / "frames.tar.xz").returncode == 0
    assert run("unpack", tmp_path / "frames.tar.xz", tmp_path / "copy").returncode == 0
    infos = pickle.loads((tmp_path / "copy" / "kitti_infos_val.pkl").read_bytes())
    assert [info["lidar_points"]["lidar_path"] for info in infos["data_list"]] == ["000003.bin", "000007.bin"]
    for name in ("000003", "000007"):
        for part in (f"label_2/{name}.txt", f"calib/{name}.txt"):
            assert (tmp_path / "copy" / "training" / part).read_bytes() == (root / "training" / part).read_bytes()
        before, after = (
            np.fromfile(folder / "training" / "velodyne_reduced" / f"{name}.bin", np.float32).reshape(-1, 4)
            for folder in (root, tmp_path / "copy")
        )
        assert len(before) > 500
        assert_allclose(after[:, :3], before[:, :3], atol=0.0013)
        assert_allclose(after[:, 3], before[:, 3], atol=1e-6)


def test_a_point_beyond_what_fits_is_refused_by_the_name_of_its_frame(root, tmp_path):
    np.array([[90, 0, 0, 0.5]], np.float32).tofile(root / "training" / "velodyne_reduced" / "000003.bin")
    refused = run("pack", root, tmp_path / "frames.tar.xz")
    assert refused.returncode != 0
    assert "frame 000003 has points beyond 81.9 m" in refused.stderr
