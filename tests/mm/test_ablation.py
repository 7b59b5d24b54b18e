"""The script that compares the losses: short runs from start to page, and what decides the numbers of a config."""

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from lidar_rank.config_files import config_folder
from tools import ablation
from tools.ablation_table import config_digest, read_studies

from .images import voc_root

SCANS = """
[scans]
page = "docs/scans.md"
title = "Losses"
text = "Few."
seeds = 1
score = "kitti/Car/3d/R40/moderate"
resampled = 2
data = "simulated"
tests = ["simulated", "real"]
[scans.options]
"train_cfg.max_epochs" = 1
"train_cfg.val_begin" = 2
"train_dataloader.num_workers" = 0
[scans.test_options]
"test_evaluator.extra_overlaps" = [0.5, 0.8]
"test_dataloader.num_workers" = 0
"test_dataloader.persistent_workers" = false
[scans.columns]
"3D" = ["kitti/Car/3d/R40/moderate", "kitti/Car/3d@0.8/R40/hard"]
"F-B" = ["reversed/foreground_background"]
"best order" = ["if_ranked_by_overlap"]
"all points" = ["all_points"]
[scans.data_sets]
simulated = {title = "Simulated", variable = "KITTI_ROOT", simulate = {scans = 4, held = 2, seed = 0, images = false}}
real = {title = "Real", variable = "KITTI_ROOT"}
[scans.rows]
"second/dr" = {config = "second/second_kitti-car_tiny.py", loss = "dr"}
"""
IMAGES = """
[images]
page = "docs/images.md"
title = "Losses"
text = "Few."
seeds = 1
score = "coco/bbox_mAP"
scale = 100
coco_files = "test_evaluator.0.outfile_prefix"
resampled = 2
data = "cells"
options = {"train_cfg.max_epochs" = 1, "train_cfg.val_interval" = 1}
columns = {AP50 = ["coco/bbox_mAP_50"]}
data_sets.cells = {title = "Cells", variable = "BCCD_ROOT"}
rows."ssd/iou-balanced" = {config = "ssd/ssd300_r18_small_bccd.py", loss = "iou-balanced"}
"""


def run(folder: Path, table: str, study: str, *data: str) -> dict:
    """The metrics of the study's only run, by data set."""
    (folder / "studies.toml").write_text(table)
    where = ["--studies", folder / "studies.toml", "--out", folder / "runs", "--page", folder / "page.md"]
    ablation.main([study, *map(str, where), *(["--data", *data] if data else [])])
    (result,) = (folder / "runs").glob("*/*/0/result.json")
    found = json.loads(result.read_text())
    assert found.pop("seconds") > 0
    return {data: measured["metrics"] for data, measured in found.items()}


@pytest.mark.parametrize(
    ("study", "data"), [("2d", []), ("2d-cars", []), ("3d", ["--data", "real=data/kitti"])], ids=["2d", "2d-cars", "3d"]
)
def test_pages_are_those_of_their_records_and_studies(study: str, data: list[str], monkeypatch, tmp_path):
    page = read_studies(ablation.STUDIES)[study].page
    written = tmp_path / page.name
    shutil.copy(page.with_suffix(".json"), tmp_path)
    monkeypatch.chdir(tmp_path)  # the commands on a page name folders below the current one
    ablation.main([study, "--report", "--page", str(written), *data])
    assert written.read_text() == page.read_text(), "settings or a config of its runs changed, or the page"
    recorded = json.loads(page.with_suffix(".json").read_text())
    assert len(list(tmp_path.glob("work_dirs/**/result.json"))) == len(recorded)


@pytest.mark.slow
def test_scans_are_simulated_trained_on_measured_and_then_skipped(monkeypatch, tmp_path):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    first = run(tmp_path, SCANS, "scans")
    assert list(first) == ["simulated"], "nobody said where real scans lie"
    simulated = tmp_path / "runs" / "simulated"
    result = run(tmp_path, SCANS, "scans", f"real={simulated}")
    assert result["simulated"] == first["simulated"]
    assert result["real"] == pytest.approx(result["simulated"], nan_ok=True)
    shown = {"kitti/Car/3d/R40/moderate", "kitti/Car/3d@0.8/R40/hard", "if_ranked_by_overlap", "all_points"}
    assert shown <= set(first["simulated"])
    assert 0 < first["simulated"]["reversed/foreground_background"] < 100
    assert (tmp_path / "page.md").read_text().count("| second/dr | 1 | ") == 2

    monkeypatch.setattr(subprocess, "run", None)
    assert run(tmp_path, SCANS, "scans", f"real={simulated}") == result


@pytest.mark.slow
def test_images_are_measured_in_percent(tmp_path):
    root = voc_root(tmp_path / "cells", {"a": [("WBC", 21, 11, 81, 61)], "b": [("RBC", 21, 11, 81, 61)]})
    result = run(tmp_path, IMAGES, "images", f"cells={root}")
    assert 0 <= result["cells"]["coco/bbox_mAP_50"] <= 100
    assert "| ssd/iou-balanced | 1 | " in (tmp_path / "page.md").read_text()


def test_digest_of_a_config_is_of_what_decides_its_numbers(tmp_path, monkeypatch):
    base = f'_base_ = ["{config_folder()}/second/second_kitti-car_tiny.py"]\n'

    def digest(name: str, text: str, loss: str | None = None, options: str = "{}") -> str:
        (tmp_path / f"{name}.py").write_text(base + text)
        return config_digest(str(tmp_path / f"{name}.py"), loss, options)

    plain = digest("plain", "")
    assert digest("comment", "# nothing\ndefault_hooks = dict(checkpoint=dict(interval=7))") == plain
    monkeypatch.setenv("KITTI_ROOT", "elsewhere/kitti")
    assert digest("elsewhere", "") == plain
    heavy = "model = dict(bbox_head=dict(loss_bbox=dict(loss_weight=3.0)))"
    again = '{"model.bbox_head.loss_bbox.loss_weight": 3.0}'
    assert digest("option", "", options=again) == digest("both", heavy, options=again) == digest("heavy", heavy)
    others = [
        digest("loss", "", "dr"),
        digest("weight", heavy),
        digest("rate", "optim_wrapper = dict(optimizer=dict(lr=0.5))"),
        digest("batch", "train_dataloader = dict(batch_size=9)"),
    ]
    assert len({plain, *others}) == 5


def test_trials_of_a_row_differ():
    """Two trials with the same resolved config would leave a row fewer settings than the others have."""
    studies = ablation.read_studies(ablation.STUDIES)
    for row in (row for study in studies.values() for row in study.rows.values() if row.trials):
        settings = [json.dumps({**row.options, **trial}) for trial in row.trials]
        digests = [config_digest(row.config, row.loss, options) for options in settings]
        assert len(set(digests)) == len(digests), f"{row.name}: {row.trials}"
