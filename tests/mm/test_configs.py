"""Every config of a detector for scans builds, trains and is evaluated, with the losses that its name promises."""

import copy
import functools
from pathlib import Path

import pytest
import torch
from mmdet3d.registry import MODELS
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmengine.runner import Runner
from torch import nn

from lidar_rank import losses
from lidar_rank.mm.registry import METRICS

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
    "focal-rankdet-iou": (losses.SumLoss, losses.SmoothL1Loss),
    "ghm": (losses.GHMCLoss, losses.GHMRLoss),
    "iou-balanced": (losses.IoUBalancedClsLoss, losses.IoUBalancedLocLoss),
    "ap": (losses.APLoss, losses.SmoothL1Loss),
    "focal": (losses.SigmoidFocalLoss, losses.SmoothL1Loss),
}


def promised(path: Path) -> tuple[str, ...]:
    """A name is detector, loss (focal is not named), data: second_dr_kitti-car_small."""
    middle = path.stem.split("_")[1]
    return tuple(loss.__name__ for loss in LOSSES["focal" if middle.startswith("kitti") else middle])


def end_of(loss: nn.Module) -> nn.Module:
    return loss.end if isinstance(loss, losses.BlendLoss) else loss


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_config_builds_the_losses_of_its_name(path: Path):
    config = Config.fromfile(path)
    init_default_scope(config.default_scope)
    head = MODELS.build(config.model).bbox_head
    assert (type(end_of(head.loss_cls)).__name__, type(head.loss_bbox).__name__) == promised(path)
    assert head.num_classes == (3 if "3class" in path.stem else 1)
    assert config.train_cfg.max_epochs >= config.train_cfg.val_interval
    warmed_up = any(hook.type == "lidar_rank.WarmUpHook" for hook in config.custom_hooks)
    assert warmed_up == isinstance(head.loss_cls, losses.BlendLoss)


def tiny(path: Path) -> Config:
    """A small config shrunk to voxels of 0.6 m and one layer a stage, which a scan takes tenths of seconds to pass."""
    config = Config.fromfile(path)
    voxels = {
        "second": {"model.middle_encoder.sparse_shape": [21, 64, 64]},
        "pointpillars": {
            "model.voxel_encoder.voxel_size": [0.6, 0.6, 4],
            "model.middle_encoder.output_shape": [64, 64],
        },
        "sassd": {
            "model.middle_encoder.sparse_shape": (20, 64, 64),
            "model.auxiliary.voxel_size_m": [0.6, 0.6, 0.2],
            "model.bbox_head.voxel_size": [0.6, 0.6, 0.2],
        },
    }[path.parent.name]
    layers = config.model.backbone.get("layer_nums")
    depth = {"model.backbone.layer_nums": [1] * len(layers)} if layers else {"model.backbone.depth": 1}
    voxel_size = [0.6, 0.6, 4 if path.parent.name == "pointpillars" else 0.2]
    limits = {"voxel_size": voxel_size, "max_voxels": (200, 200)}
    config.merge_from_dict({**voxels, **depth, "model.data_preprocessor.voxel_layer": limits})
    for loader in (config.train_dataloader, config.val_dataloader):
        loader.update(batch_size=2, num_workers=0, persistent_workers=False)
    if "3class" in path.stem:  # so few scans may hold no object of a class, which the host's sampler cannot bear
        sampler = config.train_dataloader.dataset.dataset.pipeline[2].db_sampler
        sampler.sample_groups = {"Car": 2}
        sampler.prepare.filter_by_min_points = {"Car": 5}
    return config


@functools.cache
def batches(root: Path, detector: str, data: str) -> tuple[dict, dict]:  # noqa: ARG001 - the root is in the config
    """A batch to train on and one to test on; all losses of a detector share them."""
    config = tiny(CONFIGS / detector / f"{detector}_{data}.py")
    loaders = [Runner.build_dataloader(loader, seed=0) for loader in (config.train_dataloader, config.val_dataloader)]
    return tuple(next(iter(loader)) for loader in loaders)


@pytest.mark.parametrize("path", SMALL, ids=lambda path: path.stem)
def test_small_config_trains_two_steps_and_is_evaluated(path: Path, simulated_root: Path, monkeypatch):
    monkeypatch.setenv("KITTI_ROOT", str(simulated_root))
    config = tiny(path)
    init_default_scope(config.default_scope)
    data = "kitti-3class_small" if "3class" in path.stem else "kitti-car_small"
    train, held_back = copy.deepcopy(batches(simulated_root, path.parent.name, data))
    torch.manual_seed(0)
    model = MODELS.build(config.model)
    model.init_weights()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    for progress in (0.0, 1.0):
        for loss in model.modules():
            if isinstance(loss, losses.BlendLoss):
                loss.set_progress(progress)
        values = model(**model.data_preprocessor(copy.deepcopy(train), training=True), mode="loss")
        assert {"loss_cls", "loss_bbox", "loss_dir"} <= set(values)
        assert values["loss_cls"] > 0
        total, _ = model.parse_losses(values)
        optimizer.zero_grad()
        total.backward()
        assert all(value.grad.isfinite().all() for value in model.parameters() if value.grad is not None)
        assert model.bbox_head.conv_cls.weight.grad.abs().max() > 0
        optimizer.step()

    model.eval()
    with torch.no_grad():
        results = model(**model.data_preprocessor(held_back, training=False), mode="predict")
    metric = METRICS.build(config.val_evaluator)
    metric.dataset_meta = config.val_dataloader.dataset.metainfo
    metric.process({}, [result.to_dict() for result in results])
    metrics = metric.evaluate(len(results))
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

    modules = losses.CLASSIFICATION_LOSSES + losses.LOCALIZATION_LOSSES + losses.COMPOSITE_LOSSES
    assert {losses.DRLoss, losses.RankDetLoss, losses.GHMCLoss, losses.SmoothL1Loss, losses.SumLoss} <= set(modules)
    for module in modules:
        name = module.__name__
        assert issubclass(OURS.get(name), module)
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
