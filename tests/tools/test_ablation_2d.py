"""The script that compares the losses in 2D: what it runs, what it skips, what it writes."""

import importlib.util
import json
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture
def ablation(monkeypatch, tmp_path) -> ModuleType:
    """The script, writing into an empty folder, with trainings that only leave a log."""
    spec = importlib.util.spec_from_file_location("ablation_2d", ROOT / "tools" / "ablation_2d.py")
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "ablation_2d", module)
    spec.loader.exec_module(module)
    monkeypatch.setattr(module, "ROOT", tmp_path)
    module.trained = []

    def leave_a_log(command, cwd, env, check):
        assert check
        module.trained.append((command[4], env.get("BCCD_ROOT")))
        log = Path(command[command.index("--work-dir") + 1]) / "20260101/vis_data/scalars.json"
        (cwd / log).parent.mkdir(parents=True)
        ap = 0.4 if "_dr_" in command[4] else 0.31
        rows = [{"loss": 1.0}, {"coco/bbox_mAP": ap, "coco/bbox_mAP_50": 0.8, "coco/bbox_mAP_75": 0.3}]
        (cwd / log).write_text("".join(f"{json.dumps(row)}\n" for row in rows))

    monkeypatch.setattr(module.subprocess, "run", leave_a_log)
    monkeypatch.chdir(tmp_path)
    return module


def test_every_config_exists_and_seeds_come_one_after_the_other(ablation):
    runs = list(ablation.all_runs([0, 1]))
    assert all((ROOT / "configs" / run.config).is_file() for run in runs)
    assert [run.seed for run in runs] == sorted(run.seed for run in runs)
    assert len({run.work_dir for run in runs}) == len(runs)
    retinanet = {run.config for run in runs if run.seed == 1}
    assert len(retinanet) == 12, "six losses on two data sets"


def test_trains_what_is_left_and_writes_the_page(ablation, tmp_path):
    ablation.main(["--bccd", str(tmp_path / "cells")])
    first = list(ablation.trained)
    assert {root for _, root in first} == {str(tmp_path / "cells")}
    assert all("bccd" in config for config, _ in first)
    ablation.main(["--bccd", str(tmp_path / "cells")])
    assert ablation.trained == first, "done runs are skipped"

    page = (tmp_path / "docs/results/ablation_2d.md").read_text()
    done = len(first)
    assert f"{done} of {done + 12} runs are done" in page
    (dr_cells, dr_kitti) = [line for line in page.splitlines() if line.startswith("| RetinaNet | DR ")]
    assert "| 40.0 (40.0, 40.0) | 80.0 | 30.0 |" in dr_cells
    assert "`BCCD_ROOT=data/BCCD lidar-rank train configs/retinanet/retinanet_dr_r18_small_bccd.py" in dr_cells
    assert "not run yet" in dr_kitti
    (behind, none, others) = [line for line in page.splitlines() if line.startswith("No better than")]
    assert "RetinaNet with AP" in behind
    assert "DR" not in behind
    assert none.endswith("none.")
    assert "SSD with IoU-balanced" in others
