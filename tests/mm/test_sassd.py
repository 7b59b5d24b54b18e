"""SA-SSD as a whole: what its configs say, what it computes, and that it trains and is evaluated."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from mmdet3d.registry import MODELS, PARAM_SCHEDULERS, TRANSFORMS
from mmdet3d.structures import Det3DDataSample, LiDARInstance3DBoxes
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmengine.structures import InstanceData
from torch import Tensor, nn
from torch.testing import assert_close

from lidar_rank import losses
from lidar_rank.mm import running
from lidar_rank.mm.heads.sassd import SASSDHead
from lidar_rank.models import sassd

from .conftest import CONFIGS

FULL = CONFIGS / "sassd" / "sassd_kitti-car.py"
SMALL = CONFIGS / "sassd" / "sassd_kitti-car_small.py"
FILES = sorted((CONFIGS / "sassd").glob("sassd_kitti-car*.py"))
CARS = [[8.0, 1.0, -1.7, 4.0, 1.7, 1.5, 0.2], [15.0, -4.0, -1.7, 3.9, 1.6, 1.5, 1.7]]
COARSE = [0.6, 0.6, 0.2]
LOSSES = {"loss_cls", "loss_bbox", "loss_dir", "loss_part", "loss_aux_foreground", "loss_aux_centre"}

# The small network with voxels of 0.6 m.
TINY = {
    "model.data_preprocessor.voxel_layer.voxel_size": COARSE,
    "model.data_preprocessor.voxel_layer.max_voxels": (800, 800),
    "model.middle_encoder.sparse_shape": (20, 64, 64),
    "model.auxiliary.voxel_size_m": COARSE,
    "model.bbox_head.voxel_size": COARSE,
    "model.backbone.depth": 1,
}


def build(**options) -> nn.Module:
    config = Config.fromfile(SMALL)
    config.merge_from_dict(TINY | options)
    init_default_scope("mmdet3d")
    torch.manual_seed(0)
    model = MODELS.build(config.model)
    model.init_weights()
    return model


def scan(boxes: list[list[float]], seed: int = 0) -> dict:
    """Points (P, 4) on the ground and, densely, in the boxes; the boxes beside them."""
    generator = np.random.default_rng(seed)
    ground = generator.uniform([0, -19, -1.75, 0], [38, 19, -1.65, 1], (1500, 4))
    clouds = [ground]
    for x, y, z, length, width, height, yaw in boxes:
        own = generator.uniform(-0.5, 0.5, (200, 3)) * [length, width, height]
        turn = np.array([[math.cos(yaw), -math.sin(yaw)], [math.sin(yaw), math.cos(yaw)]])
        own = np.c_[own[:, :2] @ turn.T + [x, y], own[:, 2] + z + height / 2]
        clouds.append(np.c_[own, generator.uniform(0, 1, 200)])
    sample = Det3DDataSample(metainfo={"box_type_3d": LiDARInstance3DBoxes})
    sample.gt_instances_3d = InstanceData(
        bboxes_3d=LiDARInstance3DBoxes(torch.tensor(boxes).reshape(-1, 7)),
        labels_3d=torch.zeros(len(boxes), dtype=torch.long),
    )
    return {"inputs": {"points": torch.from_numpy(np.concatenate(clouds)).float()}, "data_samples": sample}


def batch(model: nn.Module, *scans: dict) -> dict:
    together = {
        "inputs": {"points": [one["inputs"]["points"] for one in scans]},
        "data_samples": [one["data_samples"].clone() for one in scans],
    }
    return model.data_preprocessor(together, True)


def losses_of(model: nn.Module, *scans: dict) -> dict[str, Tensor]:
    return model(**batch(model, *scans), mode="loss")


# ----------------------------------------------------------------------------------------------------------- network


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_config_builds_the_network_of_its_name(path: Path):
    config = Config.fromfile(path)
    init_default_scope("mmdet3d")
    model = MODELS.build(config.model)
    assert type(model.bbox_head) is SASSDHead
    assert type(model.middle_encoder) is sassd.SparseBackbone
    assert type(model.auxiliary) is sassd.AuxiliaryNetwork
    assert type(model.bbox_head.loss_part).__name__ == "SigmoidFocalLoss"
    assert isinstance(model.bbox_head.loss_cls, losses.SigmoidFocalLoss)
    assert model.bbox_head.loss_cls.options["scope"] == "image"
    assert model.bbox_head.loss_bbox.options["reduction"] == "none", "averaged over each scan, as the authors do"
    assert config.train_cfg.max_epochs >= config.train_cfg.val_interval


def test_full_config_has_the_published_grid_anchors_and_maps():
    config = Config.fromfile(FULL)
    config.model.backbone.depth = 1  # for speed; its layers have a test of their own
    init_default_scope("mmdet3d")
    model = MODELS.build(config.model).eval()
    voxels = model.data_preprocessor.voxel_layer
    assert (voxels.max_num_points, tuple(voxels.max_voxels)) == (5, (20000, 20000))
    assert list(voxels.grid_shape) == [1408, 1600, 40]
    anchors = model.bbox_head._anchors((200, 176), "cpu")
    assert anchors.shape == (70400, 7)
    assert_close(anchors[:2], torch.tensor([[0.2, -39.8, -1.78, 3.9, 1.6, 1.56, yaw] for yaw in (0, 1.57)]))
    assert_close(anchors[2, :2] - anchors[0, :2], torch.tensor([0.4, 0.0]))
    assert_close(anchors[352, :2] - anchors[0, :2], torch.tensor([0.0, 0.4]))
    channels = [layer.out_channels for layer in (model.bbox_head.conv_cls, model.bbox_head.conv_reg)]
    assert [*channels, model.bbox_head.conv_dir_cls.out_channels] == [2, 14, 4]
    assert model.bbox_head.part_warping.part_maps[0].out_channels == 28
    with torch.no_grad():
        inputs = batch(model, scan(CARS))["inputs"]
        features = model.extract_feat(inputs)
    assert features.box_map.shape == features.part_map.shape == (1, 256, 200, 176)
    assert not torch.equal(features.box_map, features.part_map)
    rules = model.bbox_head.bbox_assigner._rules
    assert (rules["pos_iou_thr"], rules["neg_iou_thr"], rules["min_pos_iou"]) == (0.6, 0.45, 0.0)
    assert dict(model.bbox_head.test_cfg) == {"score_thr": 0.3, "nms_thr": 0.1}
    assert model.bbox_head.proposal_score_thr == 0.1
    assert model.bbox_head.prior_prob is None


def test_a_loss_is_swapped_by_one_line():
    model = build(**{"model.bbox_head.loss_cls": {"_delete_": True, "type": "lidar_rank.DRLoss"}})
    assert isinstance(model.bbox_head.loss_cls, losses.DRLoss)
    loss = losses_of(model, scan(CARS))["loss_cls"]
    assert torch.isfinite(loss)
    assert loss > 0


def test_losses_of_a_step_are_those_published():
    values = losses_of(build(), scan(CARS), scan(CARS[:1], seed=1))
    assert set(values) == LOSSES
    assert all(value.ndim == 0 and torch.isfinite(value) and value > 0 for value in values.values())


def test_voxels_are_asked_at_their_mean_points():
    """The auxiliary network sees the mean of each voxel's points, with the scan that it came from."""
    model = build()
    seen = []
    model.auxiliary.loss = lambda points, *_: seen.append(points) or {}
    scans = [scan(CARS), scan([], seed=1)]
    inputs = batch(model, *scans)
    model(**inputs, mode="loss")
    (points,) = seen
    voxels = inputs["inputs"]["voxels"]
    assert_close(points[:, 0], voxels["coors"][:, 0].float())
    row = int(voxels["num_points"].argmax())
    count = int(voxels["num_points"][row])
    assert count > 1
    assert_close(points[row, 1:], voxels["voxels"][row, :count, :3].mean(0))


def test_removing_the_auxiliary_network_changes_no_detection():
    whole = build().eval()
    bare = build(**{"model.auxiliary": None}).eval()
    assert bare.auxiliary is None
    with torch.no_grad():
        for parameter in whole.parameters():
            parameter += 0.05 * torch.randn_like(parameter)
    missing, unexpected = bare.load_state_dict(whole.state_dict(), strict=False)
    assert not missing
    assert {name.split(".")[0] for name in unexpected} == {"auxiliary"}
    for model in (whole, bare):
        model.bbox_head.proposal_score_thr, model.bbox_head.test_cfg.score_thr = 0.0, 0.0
    scans = [scan(CARS), scan(CARS[:1], seed=1)]
    with torch.no_grad():
        results = [model(**batch(model, *scans), mode="predict") for model in (whole, bare)]
    for one, other in zip(*results, strict=True):
        assert len(one.pred_instances_3d) > 10
        assert torch.equal(one.pred_instances_3d.scores_3d, other.pred_instances_3d.scores_3d)
        assert torch.equal(one.pred_instances_3d.bboxes_3d.tensor, other.pred_instances_3d.bboxes_3d.tensor)
    assert set(losses_of(bare, *scans)) == {name for name in LOSSES if "aux" not in name}


def test_a_few_steps_on_one_scan_lower_the_losses():
    model = build().train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
    history = []
    for _ in range(25):
        values = losses_of(model, scan(CARS))
        optimizer.zero_grad()
        sum(values.values()).backward()
        optimizer.step()
        history.append({name: value.item() for name, value in values.items()})
    for name in LOSSES - {"loss_part"}:
        assert history[-1][name] < 0.7 * max(row[name] for row in history[:10]), name
    assert sum(history[-1].values()) < 0.3 * sum(history[0].values())


def test_loss_of_parts_falls_along_its_gradient():
    """Beside the other losses it may rise for a while: it sums over proposals, which become more as scores rise."""
    model = build(**{"model.bbox_head.prior_prob": 0.5}).train()  # every anchor proposes a box
    parameters = list(model.bbox_head.part_warping.parameters())
    before = losses_of(model, scan(CARS))["loss_part"]
    slopes = torch.autograd.grad(before, parameters)
    step = 0.1 * before.item() / sum(slope.square().sum() for slope in slopes)
    with torch.no_grad():
        for parameter, slope in zip(parameters, slopes, strict=True):
            parameter -= step * slope
        after = losses_of(model, scan(CARS))["loss_part"]
    assert 0.8 * before < after < 0.95 * before


def test_mixed_precision_gives_nearly_the_same_losses():
    model = build().train()
    want = losses_of(model, scan(CARS), scan([], seed=2))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        got = losses_of(model, scan(CARS), scan([], seed=2))
    sum(got.values()).backward()
    for name, value in want.items():
        assert_close(got[name].float(), value, rtol=0.1, atol=0.02, msg=name)
    assert all(parameter.grad.isfinite().all() for parameter in model.parameters())


@pytest.mark.parametrize("boxes", [CARS, []], ids=["objects", "none"])
def test_a_last_scan_without_points_and_batches_without_objects(boxes):
    model = build().train()
    empty = scan([])
    empty["inputs"]["points"] = torch.zeros(0, 4)
    values = losses_of(model, scan(boxes), empty)
    sum(values.values()).backward()
    assert all(torch.isfinite(value) for value in values.values())
    results = model.eval()(**batch(model, scan(boxes), empty), mode="predict")
    assert len(results) == 2
    assert len(results[1].pred_instances_3d) == 0


def test_analysis_gets_scores_labels_and_overlaps():
    model = build().eval()
    data = batch(model, scan(CARS), scan([]))
    objects = [sample.gt_instances_3d for sample in data["data_samples"]]
    with torch.no_grad():
        features = model.extract_feat(data["inputs"])
    found = model.bbox_head.candidates(features, objects, [sample.metainfo for sample in data["data_samples"]])
    anchors = features.box_map.shape[-1] * features.box_map.shape[-2] * 2
    assert found.scores.shape == (2, anchors, 1)
    assert set(found.labels[0].tolist()) == {-1, 0, 1}
    assert 0 not in found.labels[1]
    assert (found.iou[found.labels != 0] == 0).all()


# ---------------------------------------------------------------------------------------------------- data, schedule


def test_vans_become_cars_after_cars_were_pasted_in_and_points_stay_in_order():
    config = Config.fromfile(FULL)
    steps = [step.type for step in config.train_pipeline]
    assert steps[2:5] == ["ObjectSample", "lidar_rank.MergeClasses", "ObjectNoise"]
    assert "PointShuffle" not in steps
    assert config.train_dataloader.dataset.dataset.pipeline == config.train_pipeline
    assert config.train_dataloader.dataset.dataset.metainfo.classes == ["Car", "Van"]
    assert config.val_dataloader.dataset.metainfo.classes == ["Car"]
    step = {step.type: step for step in config.train_pipeline}
    assert step["ObjectSample"].db_sampler.sample_groups == {"Car": 15}
    init_default_scope("mmdet3d")
    merge = TRANSFORMS.build(step["lidar_rank.MergeClasses"])
    results = merge({"gt_labels_3d": np.array([0, 1, 0, -1])})
    assert results["gt_labels_3d"].tolist() == [0, 0, 0, -1]
    assert results["gt_labels_3d"].dtype == np.int64


def test_schedule_is_one_cycle_of_rate_and_momentum():
    config = Config.fromfile(FULL)
    assert config.optim_wrapper.optimizer.type == "AdamW"
    assert config.optim_wrapper.optimizer.weight_decay == 0.01
    assert config.optim_wrapper.optimizer.betas[1] == 0.99
    assert config.optim_wrapper.clip_grad.max_norm == 10
    assert config.train_dataloader.batch_size == 2
    assert config.train_dataloader.dataset.times * config.train_cfg.max_epochs == 80
    weight = nn.Parameter(torch.zeros(1))
    options = {key: value for key, value in config.optim_wrapper.optimizer.items() if key != "type"}
    optimizer = torch.optim.AdamW([weight], **options)
    steps = 10  # of an epoch
    schedulers = []
    for scheduler in config.param_scheduler:
        scheduler = {key: value for key, value in scheduler.items() if key != "convert_to_iter_based"}
        cls = PARAM_SCHEDULERS.get(scheduler.pop("type"))
        schedulers.append(cls.build_iter_from_epoch(optimizer, epoch_length=steps, **scheduler))
    rates, momenta = [], []
    for _ in range(40 * steps):
        rates.append(optimizer.param_groups[0]["lr"])
        momenta.append(optimizer.param_groups[0]["betas"][0])
        optimizer.step()
        for scheduler in schedulers:
            scheduler.step()
    assert rates[0] == pytest.approx(0.0003)
    assert max(rates) == pytest.approx(0.003)
    assert rates.index(max(rates)) / len(rates) == pytest.approx(0.4, abs=0.01)
    assert rates[-1] == pytest.approx(3e-8, rel=0.01)
    assert (momenta[0], momenta[-1]) == (pytest.approx(0.95), pytest.approx(0.95, abs=1e-3))
    assert min(momenta) == pytest.approx(0.85, abs=1e-3)
    assert momenta.index(min(momenta)) / len(momenta) == pytest.approx(0.4, abs=0.01)


def test_small_config_shares_data_and_schedule_with_the_small_second():
    ours, second = Config.fromfile(SMALL), Config.fromfile(CONFIGS / "second" / "second_kitti-car_small.py")
    for key in ("train_pipeline", "train_dataloader", "val_dataloader", "val_evaluator", "optim_wrapper", "train_cfg"):
        assert ours[key] == second[key]
    assert ours.param_scheduler == second.param_scheduler
    assert ours.model.data_preprocessor == second.model.data_preprocessor
    init_default_scope(ours.default_scope)
    sizes = [sum(p.numel() for p in MODELS.build(config.model).parameters()) for config in (ours, second)]
    assert sizes[0] == pytest.approx(sizes[1], rel=0.1)


def test_small_config_trains_two_steps_and_is_evaluated(simulated_root, monkeypatch, tmp_path):
    monkeypatch.setenv("KITTI_ROOT", str(simulated_root))
    options = TINY | {
        "train_cfg.max_epochs": 2,
        "train_cfg.val_interval": 2,
        "train_dataloader.num_workers": 0,
        "train_dataloader.dataset.times": 1,
        "val_dataloader.num_workers": 0,
        "val_dataloader.persistent_workers": False,
        "default_hooks.logger.interval": 1,
    }
    running.train(str(SMALL), work_dir=str(tmp_path), options=options)
    (log,) = tmp_path.glob("*/vis_data/scalars.json")
    rows = [json.loads(line) for line in log.read_text().splitlines()]
    trained = [row for row in rows if "loss" in row]
    assert len(trained) == 2
    for row in trained:
        assert set(row) >= LOSSES
        assert all(math.isfinite(row[name]) for name in LOSSES)
    assert 0 <= rows[-1]["kitti/Car/3d/R40/moderate"] <= 100
    names = torch.load(tmp_path / "epoch_2.pth", map_location="cpu")["state_dict"]
    assert any(name.startswith("auxiliary.") for name in names)
