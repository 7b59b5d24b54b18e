"""Every config of a detector for scans builds, trains and is evaluated, with the losses that its name promises."""

from pathlib import Path

import pytest
import torch
from mmdet3d.registry import MODELS
from mmengine.config import Config
from mmengine.registry import init_default_scope
from torch import nn

from lidar_rank import losses
from lidar_rank.mm import running
from lidar_rank.mm.losses import SumLoss

from .conftest import CONFIGS

FILES = sorted(path for folder in ("second", "pointpillars", "sassd") for path in (CONFIGS / folder).glob("*.py"))
SMALL = [path for path in FILES if path.stem.endswith("_small")]

# Part of the file's name -> classification loss (of a blend: its end), localization loss.
LOSSES = {
    "ce": (losses.BinaryCrossEntropyLoss, losses.SmoothL1Loss),
    "dr": (losses.DRLoss, losses.SmoothL1Loss),
    "rankdet": (losses.RankDetLoss, losses.SmoothL1Loss),
    "rankdet-blend": (losses.RankDetLoss, losses.SmoothL1Loss),
    "rankdet-from-focal": (losses.RankDetLoss, losses.SmoothL1Loss),
    "rankdet-no-iou": (losses.RankDetLoss, losses.SmoothL1Loss),
    "rankdet-global": (losses.GlobalRankingLoss, losses.SmoothL1Loss),
    "rankdet-class": (losses.ClassRankingLoss, losses.SmoothL1Loss),
    "focal-rankdet-iou": (SumLoss, losses.SmoothL1Loss),
    "ghm": (losses.GHMCLoss, losses.GHMRLoss),
    "iou-balanced": (losses.IoUBalancedClsLoss, losses.IoUBalancedLocLoss),
    "ap": (losses.APLoss, losses.SmoothL1Loss),
    "focal": (losses.SigmoidFocalLoss, losses.SmoothL1Loss),
}


def promised(path: Path) -> tuple[type, type]:
    """A name is detector, loss (focal is not named), data: second_dr_kitti-car_small."""
    middle = path.stem.split("_")[1]
    return LOSSES["focal" if middle.startswith("kitti") else middle]


def end_of(loss: nn.Module) -> nn.Module:
    return loss.end if isinstance(loss, losses.BlendLoss) else loss


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_config_builds_the_losses_of_its_name(path: Path):
    config = Config.fromfile(path)
    init_default_scope(config.default_scope)
    head = MODELS.build(config.model).bbox_head
    assert (type(end_of(head.loss_cls)), type(head.loss_bbox)) == promised(path)
    assert head.num_classes == (3 if "3class" in path.stem else 1)
    assert config.train_cfg.max_epochs >= config.train_cfg.val_interval
    warmed_up = any(hook.type == "lidar_rank.WarmUpHook" for hook in config.custom_hooks)
    assert warmed_up == isinstance(head.loss_cls, losses.BlendLoss)


def tiny(path: Path) -> dict:
    """Settings that shrink any small config to voxels of 0.6 m and less width, for two steps and one evaluation."""
    config = Config.fromfile(path)
    pillars = config.model.voxel_encoder.type == "PillarFeatureNet"
    sassd = config.model.type == "lidar_rank.SASSD"
    options = {
        "model.data_preprocessor.voxel_layer.voxel_size": [0.6, 0.6, 4 if pillars else 0.2],
        "model.data_preprocessor.voxel_layer.max_voxels": (200, 200),
        "train_cfg.max_epochs": 2,
        "train_cfg.val_interval": 2,
        "train_dataloader.batch_size": 4,
        "train_dataloader.num_workers": 0,
        "train_dataloader.dataset.times": 1,
        "val_dataloader.num_workers": 0,
        "val_dataloader.persistent_workers": False,
        "default_hooks.logger.interval": 1,
        "default_hooks.checkpoint.interval": 3,
        "load_from": None,
    }
    if sassd:
        options |= {
            "model.middle_encoder.sparse_shape": (20, 64, 64),
            "model.backbone.depth": 1,
            "model.auxiliary.voxel_size_m": [0.6, 0.6, 0.2],
            "model.bbox_head.voxel_size": [0.6, 0.6, 0.2],
        }
    else:
        options["model.backbone.layer_nums"] = [1] * len(config.model.backbone.layer_nums)
    if pillars:
        options |= {
            "model.voxel_encoder.voxel_size": [0.6, 0.6, 4],
            "model.middle_encoder.output_shape": [64, 64],
        }
    elif not sassd:
        options["model.middle_encoder.sparse_shape"] = [21, 64, 64]
    if "3class" in path.stem:  # so few scans may hold no object of a class, which the host's sampler cannot bear
        sampler = "train_dataloader.dataset.dataset.pipeline.2.db_sampler"
        rare = {"Pedestrian": 0, "Cyclist": 0}
        options |= {f"{sampler}.sample_groups": rare, f"{sampler}.prepare.filter_by_min_points": rare}
    return options


@pytest.mark.parametrize("path", SMALL, ids=lambda path: path.stem)
def test_small_config_trains_two_steps_and_is_evaluated(path, simulated_root, monkeypatch, tmp_path):
    monkeypatch.setenv("KITTI_ROOT", str(simulated_root))
    seen = []

    def keep(self, runner, batch_idx, data_batch=None, outputs=None):  # noqa: ARG001
        seen.append((runner.epoch, {name: float(value) for name, value in outputs.items()}))

    def keep_metrics(self, runner, metrics=None):  # noqa: ARG001
        seen.append(metrics)

    monkeypatch.setattr("lidar_rank.mm.hooks.CheckpointFitsHook.after_train_iter", keep)
    monkeypatch.setattr("lidar_rank.mm.hooks.CheckpointFitsHook.after_val_epoch", keep_metrics)
    running.train(str(path), work_dir=str(tmp_path), options=tiny(path))
    first, second, metrics = seen
    assert (first[0], second[0]) == (0, 1)
    for _, values in (first, second):
        assert {"loss", "loss_cls", "loss_bbox", "loss_dir"} <= set(values)
        assert all(torch.isfinite(torch.tensor(list(values.values()))))
        assert values["loss_cls"] > 0
    assert {"kitti/Car/3d/R40/moderate", "kitti/Car/bev/R40/hard"} <= set(metrics)
    assert ("kitti/Pedestrian/3d/R40/easy" in metrics) == ("3class" in path.stem)


def test_small_configs_see_less_than_the_full_one():
    full = Config.fromfile(CONFIGS / "second" / "second_kitti-car.py")
    small = Config.fromfile(CONFIGS / "second" / "second_kitti-car_small.py")
    ranges = [step.point_cloud_range for step in small.train_pipeline if "point_cloud_range" in step]
    assert ranges == [[0, -19.2, -3, 38.4, 19.2, 1]] * 2
    assert full.train_pipeline[6].point_cloud_range == [0, -40, -3, 70.4, 40, 1]
    assert small.test_dataloader.dataset.pipeline[1].transforms[2].point_cloud_range == ranges[0]


def test_three_class_config_samples_what_the_hosts_does():
    host = Config.fromfile(host_configs() / "second/second_hv_secfpn_8xb6-80e_kitti-3d-3class.py")
    ours = Config.fromfile(CONFIGS / "second" / "second_kitti-3class.py")
    want, got = (config.train_dataloader.dataset.dataset for config in (host, ours))
    assert got.metainfo == want.metainfo
    for key in ("classes", "sample_groups", "prepare"):
        assert got.pipeline[2].db_sampler[key] == want.pipeline[2].db_sampler[key]
    for key in ("sizes", "rotations", "reshape_out", "type"):
        assert ours.model.bbox_head.anchor_generator[key] == host.model.bbox_head.anchor_generator[key]
    assert [list(row) for row in ours.model.bbox_head.anchor_generator.ranges] == [
        list(row) for row in host.model.bbox_head.anchor_generator.ranges
    ]
    for one, other in zip(ours.model.train_cfg.assigner, host.model.train_cfg.assigner, strict=True):
        for key in ("pos_iou_thr", "neg_iou_thr", "min_pos_iou"):
            assert one[key] == other[key]


def host_configs() -> Path:
    import mmdet3d

    return Path(mmdet3d.__file__).parent / ".mim" / "configs"


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
        assert issubclass(OURS.get(name), getattr(losses, name))
        assert MODELS.get(f"lidar_rank.{name}") is MMDET_MODELS.get(f"lidar_rank.{name}") is OURS.get(name)
    assert MMDET_MODELS.get("SmoothL1Loss") is not losses.SmoothL1Loss


def test_losses_that_hold_losses_are_built_from_configs():
    focal, dr = {"type": "lidar_rank.SigmoidFocalLoss"}, {"type": "lidar_rank.DRLoss", "loss_weight": 2.0}
    inputs = (torch.zeros(1, 3, 1), torch.tensor([[0, 1, 1]]))
    total = MODELS.build({"type": "lidar_rank.SumLoss", "losses": [focal, dr]})(*inputs)
    torch.testing.assert_close(total, losses.SigmoidFocalLoss()(*inputs) + 2 * losses.DRLoss()(*inputs))
    blend = MODELS.build({"type": "lidar_rank.BlendLoss", "start": focal, "end": dr})
    blend.set_progress(1.0)
    torch.testing.assert_close(blend(*inputs), 2 * losses.DRLoss()(*inputs))
    flat = MODELS.build({"type": "lidar_rank.FlatLoss", "loss": dr})
    torch.testing.assert_close(flat(*(part[0] for part in inputs)), 2 * losses.DRLoss()(*inputs))
