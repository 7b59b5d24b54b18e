"""Every config builds a model whose losses are those that its name promises."""

from pathlib import Path

import pytest
from mmdet3d.registry import MODELS
from mmengine.config import Config
from mmengine.registry import init_default_scope

from lidar_rank import losses

from .conftest import CONFIGS

FILES = sorted(CONFIGS.glob("*/*.py"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_config_builds(path: Path):
    config = Config.fromfile(path)
    init_default_scope(config.default_scope)
    head = MODELS.build(config.model).bbox_head
    expected = losses.DRLoss if "_dr_" in path.stem else losses.SigmoidFocalLoss
    assert type(head.loss_cls) is expected
    assert type(head.loss_bbox) is losses.SmoothL1Loss
    assert config.train_cfg.max_epochs >= config.train_cfg.val_interval


def test_small_configs_see_less_than_the_full_one():
    full = Config.fromfile(CONFIGS / "second" / "second_kitti-car.py")
    small = Config.fromfile(CONFIGS / "second" / "second_kitti-car_small.py")
    ranges = [step.point_cloud_range for step in small.train_pipeline if "point_cloud_range" in step]
    assert ranges == [[0, -19.2, -3, 38.4, 19.2, 1]] * 2
    assert full.train_pipeline[6].point_cloud_range == [0, -40, -3, 70.4, 40, 1]
    assert small.test_dataloader.dataset.pipeline[1].transforms[2].point_cloud_range == ranges[0]


def test_data_root_comes_from_the_environment(monkeypatch):
    monkeypatch.setenv("KITTI_ROOT", "/somewhere")
    config = Config.fromfile(CONFIGS / "second" / "second_dr_kitti-car_small.py")
    dataset = config.train_dataloader.dataset.dataset
    assert dataset.data_root == "/somewhere"
    assert dataset.pipeline[2].db_sampler.info_path == "/somewhere/kitti_dbinfos_train.pkl"
    assert config.val_evaluator.data_root == "/somewhere"


def test_every_loss_module_is_registered_and_found_from_every_host():
    from mmdet.registry import MODELS as MMDET_MODELS

    from lidar_rank.mm.registry import MODELS as OURS

    modules = [name for name in losses.__all__ if name.endswith("Loss")]
    assert {"DRLoss", "RankDetLoss", "GHMCLoss", "SmoothL1Loss"} <= set(modules)
    for name in modules:
        assert OURS.get(name) is getattr(losses, name)
        assert MODELS.get(f"lidar_rank.{name}") is MMDET_MODELS.get(f"lidar_rank.{name}") is getattr(losses, name)
    assert MMDET_MODELS.get("SmoothL1Loss") is not losses.SmoothL1Loss
