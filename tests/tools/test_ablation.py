"""The script that compares the losses: what it runs, what it skips, what it writes."""

import json
import subprocess

import pytest

from lidar_rank.config_files import config_folder, losses_in_text
from tools import ablation

STUDY = """
[tiny]
page = "docs/tiny.md"
title = "Losses"
text = "Few."
seeds = 2
score = "ap"
scale = 100
data = "cells"
tests = ["cells", "cars"]
options = {"train_cfg.max_epochs" = 1, "model.grid" = [1, 2]}
columns = {AP = ["ap"], "AP50 / AP75" = ["ap50", "ap75"]}
[tiny.data_sets.cells]
title = "Cells"
text = "Some cells."
variable = "CELLS_ROOT"
root = "data/cells"
[tiny.data_sets.cars]
title = "Cars"
variable = "CARS_ROOT"
[tiny.rows]
"retina/focal" = {config = "retinanet/retinanet_r18_small_bccd.py"}
"retina/dr" = {config = "retinanet/retinanet_r18_small_bccd.py", loss = "dr", options = {lr = 0.1}}
"ssd/own" = {config = "ssd/ssd300_r18_small_bccd.py", seeds = 1}
"""


@pytest.fixture
def run(monkeypatch, tmp_path):
    """Run the script on a study of three rows, with trainings that fail where ``run.fails`` says, and no test."""
    (tmp_path / "cells").mkdir()
    (tmp_path / "studies.toml").write_text(STUDY)
    trained, tested = [], []

    def train(command, check, env):
        assert check
        trained.append((command, env))
        if run.fails and run.fails in command:
            raise subprocess.CalledProcessError(1, "lidar-rank train")

    def measure(one, study, data, root):  # noqa: ARG001
        tested.append((one.row.name, data.name))
        return {"ap": 40.0 + one.seed if one.row.loss else 41.5, "ap50": 80.0, "ap75": 30.25}

    def run(*arguments: object) -> str:
        trained.clear()
        tested.clear()
        where = ["--studies", tmp_path / "studies.toml", "--out", tmp_path / "out", "--page", tmp_path / "page.md"]
        ablation.main(list(map(str, ["tiny", *where, *arguments])))
        return (tmp_path / "page.md").read_text()

    monkeypatch.setattr(ablation.subprocess, "run", train)
    monkeypatch.setattr(ablation, "_measure", measure)
    run.fails, run.trained, run.tested = "", trained, tested
    return run


def test_every_row_is_a_config_that_takes_its_loss():
    tables = ablation.tomllib.loads(ablation.STUDIES.read_text())
    assert set(tables) == {"2d", "3d"}
    for name, table in tables.items():
        study = ablation.Study(name, table)
        for row in study.rows.values():
            assert row.loss is None or row.loss in losses_in_text(config_folder() / row.config), row.name
            assert {row.data, *row.tests} <= set(study.data_sets), row.name


def test_trains_seed_by_seed_what_is_left_and_writes_the_page(run, tmp_path):
    data = f"cells={tmp_path / 'cells'}"
    page = run("--data", data, "--seeds", 1)
    assert [name for name, _ in run.tested] == ["retina/focal", "retina/dr", "ssd/own"]
    command, environment = run.trained[1]
    assert environment["CELLS_ROOT"] == str(tmp_path / "cells")
    for words in (["--loss", "dr"], ["--seed", "0"], ["--work-dir", str(tmp_path / "out/retina/dr/0")], ["--resume"]):
        assert " ".join(words) in " ".join(command)
    assert command[-3:] == ["train_cfg.max_epochs=1", "model.grid=[1,2]", "lr=0.1"]

    page = run("--data", data)
    assert [name for name, _ in run.tested] == ["retina/focal", "retina/dr"], "the second seed of two rows"
    lines = page.splitlines()
    assert "5 of 5 runs are done." in lines
    assert f"python tools/ablation.py tiny --data {data}" in lines
    assert "| retina/focal | 2 | 41.5 ± 0.0 | 80.0 ± 0.0 / 30.2 ± 0.0 |" in lines
    assert "| retina/dr | 2 | 40.5 ± 0.7 | 80.0 ± 0.0 / 30.2 ± 0.0 |" in lines
    assert "| ssd/own | 1 | 41.5 | 80.0 / 30.2 |" in lines
    assert "Not above the first row of their detector in `ap`: retina/dr." in lines
    assert "## Cars" not in lines
    assert 'OPTIONS="train_cfg.max_epochs=1 \\' in lines
    (dr,) = [line for line in lines if line.endswith("# retina/dr")]
    assert dr == (
        f"CELLS_ROOT={tmp_path / 'cells'} lidar-rank train"
        f" {ablation.os.path.relpath(config_folder())}/retinanet/retinanet_r18_small_bccd.py"
        " --loss dr --seed SEED --cfg-options $OPTIONS lr=0.1  # retina/dr"
    )
    assert run("--data", data) == page
    assert not run.trained


def test_tests_on_a_data_set_that_came_later_do_not_train_again(run, tmp_path):
    run("--data", f"cells={tmp_path / 'cells'}", "--rows", "ssd/own")
    assert run.tested == [("ssd/own", "cells")]
    (tmp_path / "cars").mkdir()
    page = run("--data", f"cells={tmp_path / 'cells'}", f"cars={tmp_path / 'cars'}", "--rows", "ssd/own")
    assert run.tested == [("ssd/own", "cars")]
    assert not run.trained
    assert "## Cars" in page


def test_without_data_nothing_is_trained_and_one_line_says_so(run, capsys):
    page = run()
    assert not run.trained
    assert "no data set cells, nothing is trained or tested on it; --data cells=DIR names it" in capsys.readouterr().out
    assert "0 of 5 runs are done." in page


def test_a_run_that_fails_does_not_stop_the_others(run, tmp_path):
    run.fails = "dr"
    with pytest.raises(SystemExit, match=r"these runs failed.*\nretina/dr with seed 0: .*\nretina/dr with seed 1: "):
        run("--data", f"cells={tmp_path / 'cells'}")
    assert [name for name, _ in run.tested] == ["retina/focal", "ssd/own", "retina/focal"]


def test_runs_of_other_settings_are_not_mixed(run, tmp_path):
    run.fails = "dr"
    data = f"cells={tmp_path / 'cells'}"
    with pytest.raises(SystemExit):
        run("--data", data)
    table = tmp_path / "studies.toml"
    table.write_text(table.read_text().replace("lr = 0.1", "lr = 0.2"))
    with pytest.raises(SystemExit, match=r"retina/dr/0 was begun with other settings .*; name another --out"):
        run("--data", data)


def test_wrong_names_are_refused_with_the_right_ones(run, capsys):
    for arguments, message in (
        (["--rows", "retina"], "no row 'retina', it has retina/focal, retina/dr, ssd/own"),
        (["--data", "cats=here"], "no data set 'cats', it has cells, cars"),
    ):
        with pytest.raises(SystemExit):
            run(*arguments)
        assert message in capsys.readouterr().err


def test_a_report_runs_nothing(run, tmp_path):
    folder = tmp_path / "out" / "retina" / "focal" / "0"
    folder.mkdir(parents=True)
    (folder / "result.json").write_text(json.dumps({"cells": {"ap": 12.34, "ap50": 1, "ap75": 2}}))
    page = run("--report", "--data", f"cells={tmp_path / 'cells'}")
    assert not run.trained
    assert "| retina/focal | 1 | 12.3 | 1.0 / 2.0 |" in page
