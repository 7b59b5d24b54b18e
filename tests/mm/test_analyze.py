"""`lidar-rank analyze` and `report`, from a checkpoint to a page."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmengine.runner import Runner

from lidar_rank.analysis import Diagnosis
from lidar_rank.cli import main
from lidar_rank.mm.heads.retina import PerImageRetinaHead
from lidar_rank.mm.registry import MODELS
from lidar_rank.mm.voxelnet import VoxelNet

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
    run = tmp_path / "new" / "untrained.json"
    command = ["analyze", small_config, str(checkpoint), "--work-dir", str(tmp_path), "--out", str(run)]
    assert main(command) == 0
    assert (len(runners), len(passes)) == (1, 1), "both scans are one batch"
    found = Diagnosis.from_json(json.loads(run.read_text()))
    anchors_of_both_scans = 2 * 32 * 32 * 2
    assert 0 <= found.metrics["kitti/Car/3d/R40/moderate"] <= 100
    assert found.distributions.foreground_score.sum() > 0
    assert 0.95 * anchors_of_both_scans < found.distributions.gradient_norm.sum() <= anchors_of_both_scans
    assert 0 < found.pairs.foreground_background.ratio < 1, "an untrained head ranks at random"

    assert main(["report", str(run), "--out", str(tmp_path / "page.html")]) == 0
    page = (tmp_path / "page.html").read_text()
    assert f"{100 * found.pairs.foreground_background.ratio:.3f}" in page
    assert "untrained" in capsys.readouterr().out


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
    found = Diagnosis.from_json(json.loads(run.read_text()))
    assert "coco/bbox_mAP_50" in found.metrics
    assert found.distributions.foreground_score.sum() > 0
    assert found.pairs.foreground_background.total > 0
    (objects,) = given
    assert [len(image) for image in objects] == [1, 0]
    # In pixels of the input, 320 x 160; VOC counts pixels from 1.
    torch.testing.assert_close(objects[0].bboxes, torch.tensor([[32.0, 16.0, 128.0, 96.0]]))


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
