"""The script that compares the losses: one short run from start to table, and the table's arithmetic."""

import ast
import copy
import json
import subprocess
import sys
from pathlib import Path

import pytest
from mmdet3d.registry import MODELS
from mmengine.config import Config
from mmengine.registry import init_default_scope

from tools import ablation_3d

from .test_configs import batches


def run(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> None:
    monkeypatch.setattr(sys, "argv", ["ablation_3d.py", *map(str, arguments)])
    ablation_3d.main()


@pytest.mark.slow
def test_a_run_is_trained_measured_and_then_skipped(simulated_root: Path, monkeypatch, tmp_path):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    arguments = ["--rows", "second/dr", "--seeds", 1, "--epochs", 1, "--out", tmp_path / "runs"]
    arguments += ["--data", simulated_root, "--real", simulated_root, "--table", tmp_path / "table.md"]
    run(monkeypatch, *arguments)
    result = json.loads((tmp_path / "runs/second/dr/0/result.json").read_text())
    assert result["real"] == pytest.approx(result["simulated"], nan_ok=True)
    assert {"3d/R40/hard", "bev/R40/easy", "3d@0.75/R40/moderate", "3d@0.8/R40/moderate"} <= set(result["simulated"])
    assert 0 < result["simulated"]["reversed/foreground_background"] < 100
    table = (tmp_path / "table.md").read_text()
    assert table.count("| second/dr | 1 | ") == 2
    assert "lidar-rank train configs/second/second_dr_kitti-car_small.py --seed SEED --cfg-options $SECOND" in table

    def fails(*_, **__):
        raise AssertionError

    monkeypatch.setattr(subprocess, "run", fails)
    run(monkeypatch, *arguments)
    assert (tmp_path / "table.md").read_text() == table


def test_sizes_are_those_that_the_folder_was_begun_with(monkeypatch, tmp_path):
    arguments = ("--report", "--out", tmp_path, "--table", tmp_path / "table.md")
    run(monkeypatch, *arguments, "--scans", 7)
    run(monkeypatch, *arguments)
    assert "7 simulated scans to train on, 100 held back, 4 epochs" in (tmp_path / "table.md").read_text()
    with pytest.raises(SystemExit, match=r"was begun with --epochs 4, got 5; name another --out"):
        run(monkeypatch, *arguments, "--epochs", 5)


def test_a_run_that_fails_does_not_stop_the_others(simulated_root: Path, monkeypatch, tmp_path):
    tried = []

    def fails(command, **_):
        tried.append(command[command.index("--work-dir") + 1])
        raise subprocess.CalledProcessError(1, "lidar-rank train")

    monkeypatch.setattr(subprocess, "run", fails)
    arguments = ["--rows", "second/dr", "second/ap", "--seeds", 1, "--out", tmp_path, "--data", simulated_root]
    with pytest.raises(SystemExit, match=r"second/dr with seed 0: .*\nsecond/ap with seed 0"):
        run(monkeypatch, *arguments, "--table", tmp_path / "table.md")
    assert tried == [str(tmp_path / "second/dr/0"), str(tmp_path / "second/ap/0")]


@pytest.mark.parametrize("detector", ["second", "sassd"])
def test_the_smaller_networks_fit_their_voxels(detector, simulated_root: Path, monkeypatch):
    monkeypatch.setenv("KITTI_ROOT", str(simulated_root))
    config = Config.fromfile(ablation_3d.ROOT / ablation_3d.ROWS[f"{detector}/focal"])
    config.merge_from_dict({key: ast.literal_eval(value) for key, value in ablation_3d.SMALLER[detector].items()})
    init_default_scope(config.default_scope)
    model = MODELS.build(config.model)
    model.init_weights()
    scans, _ = copy.deepcopy(batches(simulated_root, detector, "kitti-car_small"))
    losses = model(**model.data_preprocessor(scans, training=True), mode="loss")
    assert losses["loss_bbox"] > 0, "anchors and objects meet"


def test_every_row_is_a_config():
    assert [path for path in ablation_3d.ROWS.values() if not (ablation_3d.ROOT / path).is_file()] == []


def test_table_has_means_and_spreads_of_the_runs_there_are(monkeypatch, tmp_path):
    keys = [key for column in ablation_3d.COLUMNS.values() for key in column]
    for row, seed, value in [("second/focal", 0, 40.0), ("second/focal", 1, 43.0), ("second/ap", 0, 12.34)]:
        folder = tmp_path / "runs" / row / str(seed)
        folder.mkdir(parents=True)
        (folder / "result.json").write_text(json.dumps({"simulated": dict.fromkeys(keys, value)}))
    run(monkeypatch, "--report", "--out", tmp_path / "runs", "--table", tmp_path / "table.md")
    lines = (tmp_path / "table.md").read_text().splitlines()
    (focal,) = [line for line in lines if line.startswith("| second/focal")]
    (ap,) = [line for line in lines if line.startswith("| second/ap")]
    assert focal.startswith("| second/focal | 2 | 41.5 ± 2.1 / 41.5 ± 2.1 / 41.5 ± 2.1 | ")
    assert ap == "| second/ap | 1 | 12.3 / 12.3 / 12.3 | 12.3 / 12.3 / 12.3 | 12.3 | 12.3 " + "| 12.34 " * 3 + "|"
    assert not any("real" in line for line in lines if line.startswith("## "))
    assert "Not above focal loss in moderate 3D AP @0.7: second/ap." in lines
    assert any("Seeds a row: 1 to 2." in line for line in lines)
