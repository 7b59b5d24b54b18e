"""`lidar-rank analyze` and `report`, from a checkpoint to a page."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmengine.runner import Runner

from lidar_rank.analysis import score_iou_correlation
from lidar_rank.cli import main
from lidar_rank.evaluation import evaluate_folders
from lidar_rank.kitti import read_kitti_results
from lidar_rank.mm import ranking, running
from lidar_rank.mm.configs import flat_settings, training_settings
from lidar_rank.mm.heads.retina import PerImageRetinaHead
from lidar_rank.mm.registry import MODELS
from lidar_rank.mm.voxelnet import VoxelNet
from lidar_rank.page import read_run
from lidar_rank.page.measures import measure

from .conftest import CONFIGS
from .images import voc_root


@pytest.fixture
def checkpoint(small_config, tmp_path) -> Path:
    """Weights of the small car detector before training."""
    return save_untrained(small_config, tmp_path)


def save_untrained(config: Path | str, folder: Path) -> Path:
    config = Config.fromfile(config)
    init_default_scope(config.default_scope)
    torch.manual_seed(0)
    torch.save({"state_dict": MODELS.build(config.model).state_dict()}, folder / "untrained.pth")
    return folder / "untrained.pth"


def count_calls(monkeypatch: pytest.MonkeyPatch, owner: type, name: str) -> list:
    """Let a method leave an entry in the list at each call."""
    calls, method = [], getattr(owner, name)

    def counted(*args, **kwargs):
        calls.append(name)
        return method(*args, **kwargs)

    monkeypatch.setattr(owner, name, counted)
    return calls


def test_from_a_checkpoint_to_a_page(small_config, checkpoint, tmp_path, capsys, monkeypatch):
    runners = count_calls(monkeypatch, Runner, "__init__")
    passes = count_calls(monkeypatch, VoxelNet, "extract_feat")
    given = []
    monkeypatch.setattr(ranking, "count_reverse_pairs", _kept(given, ranking.count_reverse_pairs))
    run = tmp_path / "new" / "untrained.json"
    command = ["analyze", small_config, str(checkpoint), "--work-dir", str(tmp_path), "--out", str(run)]
    assert main(command) == 0
    assert (len(runners), len(passes)) == (1, 1), "both scans are one batch"
    found = read_run(run).diagnosis
    anchors_of_both_scans = 2 * 32 * 32 * 2
    assert 0 <= found.metrics["kitti/Car/3d/R40/moderate"] <= 100
    assert found.distributions.foreground_score.sum() > 0
    assert 0.95 * anchors_of_both_scans < found.distributions.gradient_norm.sum() <= anchors_of_both_scans
    assert 0 < found.pairs.foreground_background.ratio < 1, "an untrained head ranks at random"
    (both_scans,) = given
    assert found.score_iou_correlation == pytest.approx(score_iou_correlation(*both_scans))

    assert main(["report", str(run), "--out", str(tmp_path / "page.html")]) == 0
    page = (tmp_path / "page.html").read_text()
    assert f"<td>{100 * found.pairs.foreground_background.ratio:.3f}</td>" in page
    assert f"<td>correlation</td><td>{100 * found.score_iou_correlation:.1f}</td>" in page
    assert page.count('<i hidden id="points-') == 2
    assert "untrained" in capsys.readouterr().out


def test_a_run_holds_the_boxes_that_the_test_writes_and_their_ap(small_config, checkpoint, simulated_root, tmp_path):
    options = {"test_evaluator.point_cloud_range": None, "model.test_cfg.score_thr": 0.0}
    run = running.analyze(small_config, str(checkpoint), work_dir=str(tmp_path), options=options)
    running.test(small_config, str(checkpoint), out=str(tmp_path / "out"), work_dir=str(tmp_path), options=options)
    result = evaluate_folders(
        simulated_root / "training" / "label_2",
        tmp_path / "out",
        simulated_root / "ImageSets" / "val.txt",
        classes=["Car"],
    )
    written = read_kitti_results(tmp_path / "out", run.results.detections.frame_ids)
    assert len(written) > 10
    np.testing.assert_array_equal(run.results.detections.location_m, written.location_m)
    assert measure(run.results)["Car"].ap_percent == result.ap_percent()["Car"]["3d"]["R40"][1]
    assert run.diagnosis.metrics["kitti/Car/3d/R40/moderate"] == result.ap_percent()["Car"]["3d"]["R40"][1]
    assert run.settings["model.bbox_head.loss_cls.type"] == "'lidar_rank.SigmoidFocalLoss'"


def test_settings_are_those_that_the_checkpoint_was_trained_with(small_config, checkpoint):
    saved = torch.load(checkpoint)
    torch.save({**saved, "meta": {"cfg": "optim_wrapper = dict(clip_grad=dict(max_norm=7.5))"}}, checkpoint)
    assert training_settings(checkpoint, Config.fromfile(small_config)) == {"optim_wrapper.clip_grad.max_norm": "7.5"}
    torch.save(saved, checkpoint)
    own = training_settings(checkpoint, Config.fromfile(small_config))
    assert own["model.bbox_head.loss_cls.type"] == "'lidar_rank.SigmoidFocalLoss'"


def test_settings_are_read_without_running_the_config():
    text = "a = dict(b=[dict(type='X', c=(1, 2))], **{'d': 3})\ne = open('stolen', 'w')\nf = []"
    expected = {"a.b[0].type": "'X'", "a.b[0].c": "(1, 2)", "a.d": "3", "e": "open('stolen', 'w')", "f": "[]"}
    assert flat_settings(text) == expected
    assert not Path("stolen").exists()
    assert flat_settings("not = a = config (") == {}


@pytest.fixture
def blood_cells(tmp_path, monkeypatch) -> Path:
    """Two images of 200 x 100 pixels, with one cell and with none."""
    monkeypatch.setenv("BCCD_ROOT", str(voc_root(tmp_path / "cells", {"a": [("WBC", 21, 11, 81, 61)], "b": []})))
    return CONFIGS


def test_images_are_analysed_as_scans_are(blood_cells, tmp_path, monkeypatch):
    given = []
    monkeypatch.setattr(PerImageRetinaHead, "candidates", _remember(given, PerImageRetinaHead.candidates))
    config = blood_cells / "retinanet" / "retinanet_r18_small_bccd.py"
    weights = save_untrained(config, tmp_path)
    run = tmp_path / "cells.json"
    command = ["analyze", str(config), str(weights), "--loss", "dr", "--work-dir", str(tmp_path), "--out", str(run)]
    assert main(command) == 0
    found = read_run(run).diagnosis
    results = read_run(run).results
    assert (results.is_3d, results.objects.frame_ids) == (False, ("a", "b"))
    # In pixels of the file; VOC counts pixels from 1.
    assert results.objects.bbox_px.tolist() == [[20, 10, 80, 60]]
    assert results.min_overlap == {"RBC": 0.5, "WBC": 0.5, "Platelets": 0.5}
    assert main(["report", str(run), "--out", str(tmp_path / "page.html")]) == 0
    assert '"picture": [200, 100]' in (tmp_path / "page.html").read_text()
    assert "coco/bbox_mAP_50" in found.metrics
    assert found.distributions.foreground_score.sum() > 0
    assert found.pairs.foreground_background.total > 0
    (objects,) = given
    assert [len(image) for image in objects] == [1, 0]
    # In pixels of the input, 320 x 160; VOC counts pixels from 1.
    torch.testing.assert_close(objects[0].bboxes, torch.tensor([[32.0, 16.0, 128.0, 96.0]]))


def _kept(given: list, count: Callable) -> Callable:
    def keeping(*candidates, **named):
        given.append(candidates)
        return count(*candidates, **named)

    return keeping


def _remember(given: list, candidates: Callable) -> Callable:
    def remembering(head, features, objects, *others):
        given.append(objects)
        return candidates(head, features, objects, *others)

    return remembering


def test_a_detector_without_candidates_is_one_clear_error(blood_cells, tmp_path, capsys):
    config = blood_cells / "faster_rcnn" / "faster-rcnn_r18_small_bccd.py"
    weights = save_untrained(config, tmp_path)
    assert main(["analyze", str(config), str(weights), "--work-dir", str(tmp_path)]) == 2
    assert "a FasterRCNN with NoneType does not say which candidates are objects" in capsys.readouterr().err


def test_two_runs_of_one_name_are_refused(tmp_path, capsys):
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
    counts = {name: [0] for name in ("foreground_score", "background_score", "gradient_norm")}
    record = {"metrics": {}, "pairs": {}, "distributions": counts | {"score_and_iou": [[0]]}}
    files = [str(tmp_path / folder / "x.json") for folder in ("a", "b")]
    for file in files:
        Path(file).write_text(json.dumps(record))
    assert main(["report", *files]) == 2
    assert "share a name" in capsys.readouterr().err
