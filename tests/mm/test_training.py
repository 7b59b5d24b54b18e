"""Trainings that take minutes: run by ``make test-slow``."""

import json
from pathlib import Path

import pytest

from lidar_rank.mm import running

from .conftest import CONFIGS

pytestmark = [pytest.mark.slow, pytest.mark.real]


@pytest.fixture(scope="module")
def prepared_root(kitti_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The real frames, prepared beside links to their files: the shared cache stays as it is."""
    from lidar_rank.kitti import prepare_kitti

    root = tmp_path_factory.mktemp("real") / "kitti"
    (root / "training").mkdir(parents=True)
    for part in ("ImageSets", "training/velodyne", "training/image_2", "training/label_2", "training/calib"):
        (root / part).symlink_to(kitti_root / part)
    prepare_kitti(root)
    return root


def rows(work_dir: Path) -> list[dict]:
    (log,) = work_dir.glob("*/vis_data/scalars.json")
    return [json.loads(line) for line in log.read_text().splitlines()]


@pytest.mark.parametrize("loss", ["focal", "dr"])
def test_small_network_learns_eight_frames_by_heart(loss, prepared_root, monkeypatch, tmp_path):
    monkeypatch.setenv("KITTI_ROOT", str(prepared_root))
    config = CONFIGS / "second" / "second_kitti-car_small_8-frames.py"
    running.train(str(config), loss=loss, work_dir=str(tmp_path))
    ap = [row["kitti/Car/3d/R40/moderate"] for row in rows(tmp_path) if "kitti/Car/3d/R40/moderate" in row]
    assert ap[-1] >= 95


def test_full_network_takes_steps_on_a_real_scan_and_its_loss_falls(prepared_root, monkeypatch, tmp_path):
    monkeypatch.setenv("KITTI_ROOT", str(prepared_root))
    options = {
        "train_cfg.max_epochs": 1,
        "val_dataloader.dataset.indices": [0],  # the last epoch ends with a validation
        "train_dataloader.batch_size": 1,
        "train_dataloader.num_workers": 0,
        "train_dataloader.dataset.times": 10,
        "train_dataloader.dataset.dataset.indices": [53],
        "default_hooks.logger.interval": 1,
        "log_processor.window_size": 1,
    }
    running.train(str(CONFIGS / "second" / "second_kitti-car.py"), work_dir=str(tmp_path), options=options)
    losses = [row["loss"] for row in rows(tmp_path) if "loss" in row]
    assert len(losses) == 10
    assert sum(losses[-3:]) < 0.8 * sum(losses[:3])
