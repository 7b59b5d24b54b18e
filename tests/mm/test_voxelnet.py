"""Scans without a point in range: every detector trains on them and finds nothing in them."""

import json
import math
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from mmdet3d.registry import MODELS
from mmdet3d.structures import Det3DDataSample, LiDARInstance3DBoxes
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmengine.structures import InstanceData
from torch import Tensor, nn
from torch.testing import assert_close

from lidar_rank import convolutions
from lidar_rank.kitti import prepare_kitti
from lidar_rank.mm import running

from .conftest import CONFIGS

CAR = [8.0, 1.0, -1.7, 4.0, 1.7, 1.5, 0.2]
VOXELS = {"model.data_preprocessor.voxel_layer.voxel_size": [0.6, 0.6, 0.2]}
# The small configs with voxels of 0.6 m and few layers.
TINY = {
    "second": {
        **VOXELS,
        "model.middle_encoder.sparse_shape": [21, 64, 64],
        "model.backbone.layer_nums": [1, 1],
    },
    "pointpillars": {
        "model.data_preprocessor.voxel_layer.voxel_size": [0.6, 0.6, 4],
        "model.voxel_encoder.voxel_size": [0.6, 0.6, 4],
        "model.middle_encoder.output_shape": [64, 64],
        "model.backbone.layer_nums": [1, 1, 1],
    },
    "sassd": {
        **VOXELS,
        "model.middle_encoder.sparse_shape": (20, 64, 64),
        "model.auxiliary.voxel_size_m": VOXELS["model.data_preprocessor.voxel_layer.voxel_size"],
        "model.bbox_head.voxel_size": VOXELS["model.data_preprocessor.voxel_layer.voxel_size"],
        "model.backbone.depth": 1,
    },
}


def config_of(detector: str) -> Path:
    return CONFIGS / detector / f"{detector}_kitti-car_small.py"


def build(detector: str) -> nn.Module:
    config = Config.fromfile(config_of(detector))
    config.merge_from_dict(TINY[detector])
    init_default_scope("mmdet3d")
    torch.manual_seed(0)
    model = MODELS.build(config.model)
    model.init_weights()
    nn.init.zeros_(model.bbox_head.conv_cls.bias)  # scores of 0.5: anything is detected that can be
    return model


def cloud(kind: str) -> Tensor:
    """Points (P, 4) of a scan."""
    generator = np.random.default_rng(0)
    points = generator.uniform([0, -19, -1.75, 0], [38, 19, 0.5, 1], (1500, 4))
    behind = points * [-1, 1, 1, 1] - [0.1, 0, 0, 0]
    points = {"full": points, "empty": points[:0], "behind": behind, "point": points[:1]}[kind]
    return torch.from_numpy(points).float()


def batch(model: nn.Module, kinds: tuple[str, ...], *, training: bool) -> dict:
    samples = []
    for _ in kinds:
        sample = Det3DDataSample(metainfo={"box_type_3d": LiDARInstance3DBoxes})
        sample.gt_instances_3d = InstanceData(
            bboxes_3d=LiDARInstance3DBoxes(torch.tensor([CAR])), labels_3d=torch.zeros(1, dtype=torch.long)
        )
        samples.append(sample)
    together = {"inputs": {"points": [cloud(kind) for kind in kinds]}, "data_samples": samples}
    return model.data_preprocessor(together, training)


@pytest.mark.parametrize(
    "name", ["second/second_kitti-car.py", "second/second_kitti-3class.py", "pointpillars/pointpillars_kitti-car.py"]
)
def test_configs_of_second_and_pointpillars_use_it(name):
    assert Config.fromfile(CONFIGS / name).model.type == "lidar_rank.VoxelNet"


BATCHES = [("full", "empty"), ("empty", "full"), ("behind", "empty", "full", "behind"), ("empty",), ("behind", "empty")]


@pytest.mark.parametrize("kinds", [*BATCHES, ("point",), ("empty", "point")], ids="-".join)
@pytest.mark.parametrize("detector", TINY)
def test_a_step_is_finite_and_reaches_every_weight(detector, kinds):
    model = build(detector).train()
    losses = model(**batch(model, kinds, training=True), mode="loss")
    sum(losses.values()).backward()
    assert all(value.isfinite() for value in losses.values())
    assert all(parameter.grad is not None and parameter.grad.isfinite().all() for parameter in model.parameters())
    assert all(buffer.isfinite().all() for buffer in model.buffers())


@pytest.mark.parametrize("detector", TINY)
def test_the_convolutions_for_cpus_take_the_step_of_torchs_own(detector):
    losses, gradients = [], []
    for own in (True, False):
        model = build(detector).train()
        layers = [layer for layer in model.modules() if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d)]
        assert {type(layer) for layer in layers} <= {convolutions.Conv2d, convolutions.ConvTranspose2d}
        if not own:
            for layer in layers:
                layer.__class__ = nn.Conv2d if isinstance(layer, nn.Conv2d) else nn.ConvTranspose2d
        step = model(**batch(model, ("full", "empty"), training=True), mode="loss")
        sum(step.values()).backward()
        losses.append(step)
        gradients.append(torch.cat([parameter.grad.flatten() for parameter in model.parameters()]))
    assert_close(*losses, rtol=1e-5, atol=1e-6)
    ours, torchs = gradients
    assert (ours - torchs).norm() < 1e-4 * torchs.norm()


@pytest.mark.parametrize("kinds", BATCHES, ids="-".join)
@pytest.mark.parametrize("detector", TINY)
@torch.no_grad()
def test_a_scan_with_points_is_found_as_if_alone_and_one_without_has_no_detections(detector, kinds):
    model = build(detector).eval()
    (alone,) = model(**batch(model, ("full",), training=False), mode="predict")
    assert len(alone.pred_instances_3d) > 0
    found = model(**batch(model, kinds, training=False), mode="predict")
    assert len(found) == len(kinds)
    for kind, sample in zip(kinds, found, strict=True):
        if kind == "full":
            assert_close(sample.pred_instances_3d.scores_3d, alone.pred_instances_3d.scores_3d)
            assert_close(sample.pred_instances_3d.bboxes_3d.tensor, alone.pred_instances_3d.bboxes_3d.tensor)
        else:
            assert len(sample.pred_instances_3d) == 0
            assert sample.pred_instances_3d.bboxes_3d.tensor.shape == (0, 7)


@pytest.fixture(scope="module")
def root_with_empty_scans(simulated_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A prepared root: of each split, the last scan has no bytes, and in the one before all points are behind the car.

    The labels stay as they are.
    """
    root = tmp_path_factory.mktemp("empty_scans") / "kitti"
    (root / "training/velodyne").mkdir(parents=True)
    for part in ("ImageSets", "training/label_2", "training/calib"):
        shutil.copytree(simulated_root / part, root / part)
    for split in ("train", "val"):
        *full, behind, empty = (root / "ImageSets" / f"{split}.txt").read_text().split()
        for frame in (*full, behind):
            shutil.copy(simulated_root / f"training/velodyne/{frame}.bin", root / f"training/velodyne/{frame}.bin")
        points = np.fromfile(root / f"training/velodyne/{behind}.bin", np.float32).reshape(-1, 4)
        points[:, 0] = -np.abs(points[:, 0]) - 1
        points.tofile(root / f"training/velodyne/{behind}.bin")
        (root / f"training/velodyne/{empty}.bin").touch()
    prepare_kitti(root, image_size=(1242, 375), progress=False)
    return root


@pytest.mark.parametrize(
    ("detector", "pasted"), [("second", False), ("pointpillars", True)], ids=["second", "pointpillars_with_pasted_cars"]
)
def test_a_root_with_empty_scans_is_trained_on_and_tested(
    detector, pasted, root_with_empty_scans, brief, monkeypatch, tmp_path
):
    monkeypatch.setenv("KITTI_ROOT", str(root_with_empty_scans))
    config, options = config_of(detector), TINY[detector] | brief
    options |= {"train_cfg.max_epochs": 1, "train_cfg.val_interval": 1, "train_dataloader.batch_size": 1}
    for loader in ("train_dataloader", "val_dataloader", "test_dataloader"):
        options |= {f"{loader}.num_workers": 0, f"{loader}.persistent_workers": False}
    if not pasted:
        steps = [step for step in Config.fromfile(config).train_pipeline if step["type"] != "ObjectSample"]
        options["train_dataloader.dataset.dataset.pipeline"] = steps
    running.train(str(config), work_dir=str(tmp_path), options=options)
    (log,) = tmp_path.glob("*/vis_data/scalars.json")
    losses = [row["loss"] for row in map(json.loads, log.read_text().splitlines()) if "loss" in row]
    assert len(losses) == 4
    assert all(map(math.isfinite, losses))
    results = tmp_path / "results"
    running.test(str(config), str(tmp_path / "epoch_1.pth"), out=str(results), work_dir=str(tmp_path), options=options)
    frames = (root_with_empty_scans / "ImageSets/val.txt").read_text().split()
    assert [(results / f"{frame}.txt").read_text() for frame in frames[-2:]] == ["", ""]
