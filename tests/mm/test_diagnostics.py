"""What training steps show: ranking, and the gradients of loss terms at the shared features."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from mmdet.structures import DetDataSample
from mmdet3d.structures import Det3DDataSample
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmengine.runner import Runner
from mmengine.structures import InstanceData

from lidar_rank.analysis import ReversePairs, count_reverse_pairs
from lidar_rank.cli import main
from lidar_rank.mm import running
from lidar_rank.mm.configs import load_config
from lidar_rank.mm.diagnostics import (
    DiagnosticsHook,
    Step,
    _as_head_sees,
    feature_gradients,
    format_gradients,
    gradient_norms,
    ranking,
)
from lidar_rank.mm.registry import MODELS
from lidar_rank.mm.seam import Candidates

from .conftest import CONFIGS
from .images import voc_root
from .test_2d_configs import tiny
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


def rows_of_hook(work_dir: Path) -> list[dict]:
    return [row for row in scalars(work_dir) if "feature_gradient/loss_cls" in row]


def test_hook_measures_its_step_and_leaves_the_training_as_it_is(small_config, brief, tmp_path):
    running.train(small_config, work_dir=str(tmp_path / "without"), options=brief)
    running.train(small_config, work_dir=str(tmp_path / "with"), options=brief, diagnose=2)
    expected = weights(tmp_path / "without")
    for name, value in weights(tmp_path / "with").items():
        assert torch.equal(value, expected[name]), name
    rows = rows_of_hook(tmp_path / "with")
    assert [row["step"] for row in rows] == [2, 4]
    assert "Diagnostics of step 4: reversed_pairs_percent/F-B" in next((tmp_path / "with").glob("*/*.log")).read_text()


def analyze_batch(model: torch.nn.Module, data: dict) -> tuple[ReversePairs, float, dict[str, float]]:
    """What `lidar-rank analyze` would say of one batch; neither batch norm nor random numbers notice."""
    state, buffers = torch.random.get_rng_state(), {name: value.clone() for name, value in model.named_buffers()}
    inputs = model.data_preprocessor(data, True)
    samples = inputs["data_samples"]
    objects, metas = zip(*((sample.gt_instances_3d, sample.metainfo) for sample in samples), strict=True)
    found = model.bbox_head.candidates(model.extract_feat(inputs["inputs"]), objects, metas)
    scores, labels, iou = (part.numpy() for part in found)
    gradients = feature_gradients(model, data)
    torch.random.set_rng_state(state)
    for name, value in model.named_buffers():
        value.data.copy_(buffers[name])
    correlation = np.corrcoef(scores[labels == 0][:, 0], iou[labels == 0])[0, 1]
    return count_reverse_pairs(scores, labels, iou), correlation, gradients


@pytest.mark.parametrize("loss", [None, "iou-branch"])
def test_numbers_are_those_of_analyze_on_the_same_batch(small_config, brief, tmp_path, loss, monkeypatch):
    analyses, watch = [], DiagnosticsHook.before_train_iter

    def analyze_and_watch(hook, runner, batch_idx, data_batch=None):
        analyses.append(analyze_batch(runner.model, data_batch))
        watch(hook, runner, batch_idx, data_batch)

    monkeypatch.setattr(DiagnosticsHook, "before_train_iter", analyze_and_watch)
    brief["train_cfg.max_epochs"] = 1
    running.train(small_config, loss=loss, work_dir=str(tmp_path), options=brief, diagnose=1)
    rows = rows_of_hook(tmp_path)
    assert len(rows) == len(analyses) == 2
    for row, (pairs, correlation, gradients) in zip(rows, analyses, strict=True):
        assert row["reversed_pairs_percent/F-B"] == pytest.approx(100 * pairs.foreground_background.ratio)
        assert row["reversed_pairs_percent/P-N"] == pytest.approx(100 * pairs.positive_negative.ratio)
        assert row["reversed_pairs_percent/P-P"] == pytest.approx(100 * pairs.positive_positive.ratio)
        assert row["score_iou_correlation"] == pytest.approx(correlation, abs=1e-5)
        for name, norm in gradients.items():
            assert row[f"feature_gradient/{name}"] == pytest.approx(norm, rel=1e-4)


def test_images_are_measured_as_scans_are(tmp_path, monkeypatch):
    monkeypatch.setenv("BCCD_ROOT", str(voc_root(tmp_path / "cells", {"a": [("WBC", 21, 11, 81, 61)], "b": []})))
    config = str(CONFIGS / "retinanet" / "retinanet_r18_small_bccd.py")
    options = {"train_cfg.max_epochs": 1, "train_cfg.val_interval": 2, "train_dataloader.num_workers": 0}
    options |= {"train_dataloader.persistent_workers": False}
    running.train(config, work_dir=str(tmp_path / "w"), options=options, diagnose=1)
    row = rows_of_hook(tmp_path / "w")[0]
    assert 0 < row["reversed_pairs_percent/F-B"] < 100
    assert row["feature_gradient/loss_bbox"] > 0


def test_region_proposals_know_one_class(tmp_path, monkeypatch):
    """The labels of the data, 0 to 2, are not those of the head, to which every object is of class 0."""
    cells = {"a": [("RBC", 10, 12, 60, 70), ("WBC", 90, 20, 190, 96)], "b": [("Platelets", 10, 12, 60, 70)]}
    monkeypatch.setenv("BCCD_ROOT", str(voc_root(tmp_path / "cells", cells)))
    path = CONFIGS / "faster_rcnn" / "faster-rcnn_r18_small_bccd.py"
    running.train(
        str(path), loss="rpn-dr", work_dir=str(tmp_path / "w"), options=tiny(path, validated=False), diagnose=1
    )
    rows = rows_of_hook(tmp_path / "w")
    assert all(0 < row["reversed_pairs_percent/F-B"] < 100 for row in rows), "each image has objects"


def test_proposals_in_scans_are_left_as_they_are():
    """Two-stage detectors of mmdet3d have an rpn_head and no objects in images."""
    samples = [Det3DDataSample(gt_instances_3d=InstanceData(labels_3d=torch.tensor([2])))]
    assert _as_head_sees(torch.nn.ModuleDict({"rpn_head": torch.nn.Identity()}), samples) is samples


def step_of(scores: list[float], labels: list[int], iou: list[float]) -> Step:
    """A step whose head returns these candidates of one image."""
    found = Candidates(torch.tensor(scores)[None, :, None], torch.tensor(labels)[None], torch.tensor(iou)[None])
    sample = DetDataSample(gt_instances=InstanceData())
    return Step(SimpleNamespace(candidates=lambda *_: found), [], [sample], {})


def test_what_a_batch_does_not_have_is_left_out():
    assert set(ranking(step_of([0.9, 0.1], [1, 1], [0.0, 0.0]))) == set(), "no object"
    assert set(ranking(step_of([0.9, 0.1], [0, 1], [0.5, 0.0]))) == {
        "reversed_pairs_percent/F-B",
        "reversed_pairs_percent/P-N",
    }
    assert ranking(step_of([float("nan"), 0.1], [0, 1], [0.5, 0.0])) == {}
    assert ranking(Step(object(), [], [], {})) == {}


def test_scale_of_half_precision_keeps_small_gradients():
    features = torch.ones(4, dtype=torch.float16, requires_grad=True)
    step = Step(None, [features], [], {"loss_cls": 1e-8 * features.float().sum(), "number": torch.ones(())})
    assert gradient_norms(step) == {"loss_cls": 0.0}
    assert gradient_norms(step, 2.0**16) == {"loss_cls": pytest.approx(2e-8, rel=1e-2)}
    assert gradient_norms(Step(None, [torch.ones(1)], [], {})) == {}, "nothing before the head is trained"


@pytest.mark.parametrize("interval", [0, 2.5])
def test_interval_must_be_a_positive_integer(interval):
    with pytest.raises(ValueError, match="interval must be"):
        DiagnosticsHook(interval)


def test_model_without_head_is_refused():
    with pytest.raises(ValueError, match="has neither bbox_head nor rpn_head"):
        feature_gradients(torch.nn.Identity(), {})


@pytest.mark.parametrize("loss", [[], ["--loss", "rankdet"]], ids=["focal", "after a warm-up"])
def test_analyze_prints_gradients(small_config, brief, tmp_path, capsys, loss):
    running.train(small_config, work_dir=str(tmp_path / "w"), options=brief)
    command = ["analyze", small_config, str(tmp_path / "w" / "epoch_2.pth"), "--out", str(tmp_path / "run.json"), *loss]
    assert main([*command, "--work-dir", str(tmp_path / "a"), "--gradients", "1"]) == 0
    table = capsys.readouterr().out.strip().splitlines()[-4:]
    assert [row.split()[0] for row in table] == ["loss", "loss_cls", "loss_bbox", "loss_dir"]
    assert table[1].split()[2] == "1.000"


@pytest.mark.parametrize(
    ("loss", "option"),
    [("dr", "model.bbox_head.loss_cls.loss_weight"), ("rankdet", "model.bbox_head.loss_cls.end.loss_weight")],
)
def test_weight_that_is_found_makes_the_gradients_equal(small_config, brief, tmp_path, capsys, loss, option):
    running.train(small_config, work_dir=str(tmp_path / "w"), options=brief)
    checkpoint = str(tmp_path / "w" / "epoch_2.pth")
    command = ["tune-weight", small_config, checkpoint, "--work-dir", str(tmp_path / "a"), "--batches", "2"]
    assert main([*command, "--loss", loss]) == 0
    words = capsys.readouterr().out.split()
    name, _, weight = words[-1].partition("=")
    assert name == option
    norms = running.measure_gradients(
        small_config, checkpoint, batches=2, loss=loss, work_dir=str(tmp_path / "b"), options={option: float(weight)}
    )
    own = running.measure_gradients(small_config, checkpoint, batches=2, work_dir=str(tmp_path / "b"))
    assert norms["loss_cls"] == pytest.approx(own["loss_cls"], rel=0.05)  # the weight is printed with two digits


def test_settings_of_the_loss_leave_the_own_loss_as_it_is(small_config, brief, tmp_path):
    """GHM-C has a bound that focal loss does not know, and both have a weight."""
    running.train(small_config, work_dir=str(tmp_path / "w"), options=brief)
    given = {"model.bbox_head.loss_cls.max_weight": 30.0, "model.bbox_head.loss_cls.loss_weight": 4.0}
    found, once = (
        running.tune_weight(
            small_config,
            str(tmp_path / "w" / "epoch_2.pth"),
            loss="ghm-c",
            batches=1,
            work_dir=str(tmp_path / "a"),
            options=options,
        )
        for options in (given, {**given, "model.bbox_head.loss_cls.loss_weight": 1.0})
    )
    assert found.own == once.own
    assert found.put_in == pytest.approx(4 * once.put_in, rel=1e-4)
    assert found.weight == pytest.approx(once.weight, rel=1e-4)


@pytest.mark.parametrize(
    ("loss", "message"),
    [
        ("box-iou", "leaves the classification loss of .* dense head as it is"),
        ("focal-rankdet-iou", r"is a sum: .* model\.bbox_head\.loss_cls\.losses\.1\.loss_weight="),
    ],
)
def test_losses_without_one_weight_are_refused_before_anything_is_measured(small_config, loss, message):
    with pytest.raises(ValueError, match=message):
        running.tune_weight(small_config, "nowhere.pth", loss=loss, batches=1)


def test_table_of_gradients():
    assert format_gradients({"loss_cls": 2.0, "loss_bbox": 1.0}).splitlines()[2].split() == ["loss_bbox", "1", "0.500"]
