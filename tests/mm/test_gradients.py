"""Gradients of loss terms at the shared features."""

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmengine.runner import Runner

from lidar_rank.cli import main
from lidar_rank.mm import running
from lidar_rank.mm.configs import load_config
from lidar_rank.mm.gradients import FeatureGradientHook, feature_gradients, format_gradients
from lidar_rank.mm.registry import MODELS

from .conftest import CONFIGS
from .images import voc_root
from .test_running import scalars, weights


def batch_of(cfg: Config) -> tuple[torch.nn.Module, dict]:
    init_default_scope(cfg.default_scope)
    torch.manual_seed(0)
    model = MODELS.build(cfg.model).train()
    cfg.train_dataloader.num_workers = 0
    cfg.train_dataloader.persistent_workers = False
    return model, next(iter(Runner.build_dataloader(cfg.train_dataloader, seed=0)))


def test_norms_are_those_of_a_head_whose_features_are_leaves(small_config):
    model, data = batch_of(load_config(small_config))
    torch.manual_seed(1)
    norms = feature_gradients(model, data)
    assert set(norms) == {"loss_cls", "loss_bbox", "loss_dir"}

    model.zero_grad()
    inputs = model.data_preprocessor(data, True)
    features = [part.detach().requires_grad_() for part in model.extract_feat(inputs["inputs"])]
    losses = model.bbox_head.loss(features, inputs["data_samples"])
    for name, norm in norms.items():
        term = sum(losses[name]) if isinstance(losses[name], list) else losses[name]
        (gradient,) = torch.autograd.grad(term, features, retain_graph=True)
        assert norm == pytest.approx(float(gradient.norm()), rel=1e-4)
        assert norm > 0


def test_weight_of_a_term_multiplies_its_norm_alone(small_config):
    ordinary, data = batch_of(load_config(small_config))
    heavy, _ = batch_of(load_config(small_config, options={"model.bbox_head.loss_cls.loss_weight": 3.0}))
    before, after = feature_gradients(ordinary, data), feature_gradients(heavy, data)
    assert after["loss_cls"] == pytest.approx(3 * before["loss_cls"], rel=1e-4)
    assert after["loss_bbox"] == pytest.approx(before["loss_bbox"], rel=1e-4)


def test_levels_of_an_image_detector_are_taken_together(tmp_path, monkeypatch):
    monkeypatch.setenv("BCCD_ROOT", str(voc_root(tmp_path / "cells", {"a": [("WBC", 21, 11, 81, 61)], "b": []})))
    model, data = batch_of(load_config(str(CONFIGS / "retinanet" / "retinanet_r18_small_bccd.py")))
    norms = feature_gradients(model, data)
    assert norms["loss_cls"] > 0
    assert norms["loss_bbox"] > 0


def test_hook_logs_and_leaves_the_training_as_it_is(small_config, brief, tmp_path):
    hooks = load_config(small_config).custom_hooks
    running.train(small_config, work_dir=str(tmp_path / "without"), options=brief)
    measured = brief | {"custom_hooks": [*hooks, {"type": "lidar_rank.FeatureGradientHook", "interval": 1}]}
    measured["default_hooks.logger.interval"] = 1
    running.train(small_config, work_dir=str(tmp_path / "with"), options=measured)
    expected = weights(tmp_path / "without")
    for name, value in weights(tmp_path / "with").items():
        assert torch.equal(value, expected[name]), name
    rows = [row for row in scalars(tmp_path / "with") if "loss" in row]
    assert all(row["feature_gradient/loss_cls"] > 0 for row in rows)


@pytest.mark.parametrize("interval", [0, 2.5])
def test_interval_must_be_a_positive_integer(interval):
    with pytest.raises(ValueError, match="interval must be a positive integer"):
        FeatureGradientHook(interval)


def test_model_without_head_is_refused():
    with pytest.raises(ValueError, match="has neither bbox_head nor rpn_head"):
        feature_gradients(torch.nn.Identity(), {})


def test_analyze_prints_gradients(small_config, brief, tmp_path, capsys):
    running.train(small_config, work_dir=str(tmp_path / "w"), options=brief)
    command = ["analyze", small_config, str(tmp_path / "w" / "epoch_2.pth"), "--out", str(tmp_path / "run.json")]
    assert main([*command, "--work-dir", str(tmp_path / "a"), "--gradients", "1"]) == 0
    table = capsys.readouterr().out.strip().splitlines()[-4:]
    assert [row.split()[0] for row in table] == ["loss", "loss_cls", "loss_bbox", "loss_dir"]
    assert table[1].split()[2] == "1.000"


def test_table_of_gradients():
    assert format_gradients({"loss_cls": 2.0, "loss_bbox": 1.0}).splitlines()[2].split() == ["loss_bbox", "1", "0.500"]
