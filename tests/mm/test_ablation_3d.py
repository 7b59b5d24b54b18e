"""The script that compares the losses: one short run from start to table, and the table's arithmetic."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tools import ablation_3d


def run(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> None:
    monkeypatch.setattr(sys, "argv", ["ablation_3d.py", *map(str, arguments)])
    ablation_3d.main()


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
    assert ap == "| second/ap | 1 | 12.3 / 12.3 / 12.3 | 12.3 / 12.3 / 12.3 " + "| 12.3 " * 5 + "|"
    assert not any("real" in line for line in lines if line.startswith("## "))
    assert any("1 to 2 seeds" in line for line in lines)
