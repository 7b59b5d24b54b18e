"""`lidar-rank analyze` and `report`, from a checkpoint to a page."""

import json
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope

from lidar_rank.analysis import Diagnosis
from lidar_rank.cli import main
from lidar_rank.mm.registry import MODELS


@pytest.fixture
def checkpoint(small_config, tmp_path) -> Path:
    """Weights of the small car detector before training."""
    config = Config.fromfile(small_config)
    init_default_scope(config.default_scope)
    torch.manual_seed(0)
    torch.save({"state_dict": MODELS.build(config.model).state_dict()}, tmp_path / "untrained.pth")
    return tmp_path / "untrained.pth"


def test_from_a_checkpoint_to_a_page(small_config, checkpoint, tmp_path, capsys):
    run = tmp_path / "untrained.json"
    command = ["analyze", small_config, str(checkpoint), "--work-dir", str(tmp_path), "--out", str(run)]
    assert main(command) == 0
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
