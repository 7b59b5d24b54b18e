"""The script that compares the losses: what it runs, what it skips, what it writes."""

import json
import shutil
import subprocess
import time
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np
import pytest
from filelock import FileLock

from lidar_rank.config_files import check_before_import, config_folder
from lidar_rank.kitti import read_kitti_labels
from tools import ablation, ablation_page
from tools.ablation_table import Study, read_studies

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

TUNED = """
[tuned]
page = "docs/tuned.md"
title = "Tuned losses"
text = "Few."
seeds = 2
score = "ap"
data = "train"
tests = ["test"]
tuning = { data = "train", trials = 2 }
columns = { AP = ["ap"] }
[tuned.data_sets.train]
title = "Train"
variable = "KITTI_ROOT"
simulate = { scans = 1, held = 1, seed = 5, images = false }
[tuned.data_sets.test]
title = "Test"
variable = "KITTI_ROOT"
simulate = { scans = 1, held = 1, seed = 6, images = false }
[tuned.rows]
"second/focal" = { config = "second/second_kitti-car_tiny.py", trials = [{ "w" = 1.0 }, { "w" = 2.0 }] }
"second/dr" = { config = "second/second_kitti-car_tiny.py", loss = "dr", trials = [{ "w" = 1.0 }, { "w" = 0.1 }] }
"long/focal" = { config = "second/second_kitti-car_tiny.py", tuned_as = "second/focal", start = "second/focal" }
"""


class Inline:
    """Runs what is submitted at once, in this process."""

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def submit(self, function, *arguments):
        future = Future()
        try:
            future.set_result(function(*arguments))
        except Exception as error:
            future.set_exception(error)
        return future


@pytest.fixture
def run(monkeypatch, tmp_path):
    """Run the script on a small study: trainings fail where ``run.fails`` says, and what tests measure is made up."""
    for name in ("cells", "train", "test"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "kitti_infos_val.pkl").touch()
    (tmp_path / "studies.toml").write_text(STUDY + TUNED)
    trained, tested = [], []

    def train(command, check, env, stdout, stderr):  # noqa: ARG001
        assert check
        trained.append((command, env))
        if run.fails and run.fails in command:
            stdout.write(b"lidar-rank train: 7 steps\nlidar-rank train: loss_weight must be >= 0, got -1.0\n")
            raise run.error
        (folder := ablation.Path(command[command.index("--work-dir") + 1])).mkdir(exist_ok=True)
        (folder / "last_checkpoint").write_text("elsewhere/epoch_1.pth")

    def measure(one, study, data, roots):  # noqa: ARG001
        tested.append((one.row.name, data.name))
        if study.name == "tuned":
            ap = 50.0 + one.seed + {"w": 0.0, **one.row.options}["w"] * (-1 if one.row.loss else 1)
        else:
            ap = 40.0 + one.seed if one.row.loss else 41.5
        return {"metrics": {"ap": ap, "ap50": 80.0, "ap75": 30.25}, "resampled": []}

    def run(*arguments: object, study: str = "tiny") -> str:
        trained.clear()
        tested.clear()
        where = ["--studies", tmp_path / "studies.toml", "--out", tmp_path / "out", "--page", tmp_path / "page.md"]
        ablation.main(list(map(str, [study, *where, *arguments])))
        page = tmp_path / "page.md"
        return page.read_text() if page.exists() else ""

    monkeypatch.setattr(ablation, "_executor", lambda options: Inline())  # noqa: ARG005
    monkeypatch.setattr(ablation.subprocess, "run", train)
    monkeypatch.setattr(ablation, "_measure", measure)
    monkeypatch.setattr(ablation, "config_digest", lambda *_: "")
    run.fails, run.error = "", subprocess.CalledProcessError(1, "lidar-rank train")
    run.trained, run.tested = trained, tested
    return run


def test_every_row_is_a_config_that_takes_its_loss():
    studies = read_studies(ablation.STUDIES)
    assert set(studies) == {"2d", "2d-cars", "3d"}
    for study in studies.values():
        for row in study.rows.values():
            check_before_import(config_folder() / row.config, row.loss)
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
    assert "5 of 5 runs are done; their training took 0.0 hours of one core." in lines
    assert f"python tools/ablation.py tiny --data {data}" in lines
    assert "![Differences to the first row of the detector](page.png)" in lines
    assert (tmp_path / "page.png").stat().st_size > 1000
    assert "| retina/focal | 2 | 41.5 | 80.0 / 30.2 | - |" in lines
    assert "| retina/dr | 2 | 40.5 | 80.0 / 30.2 | -1.0 |" in lines, "two seeds have no interval"
    assert "| ssd/own | 1 | 41.5 | 80.0 / 30.2 | - |" in lines
    assert "### Differences: cells" not in lines
    assert "## Cars" not in lines
    assert 'OPTIONS="train_cfg.max_epochs=1 \\' in lines
    (dr,) = [line for line in lines if line.endswith("# retina/dr")]
    assert dr == (
        f"CELLS_ROOT={tmp_path / 'cells'} lidar-rank train retinanet_r18_small_bccd"
        " --loss dr --seed SEED --cfg-options $OPTIONS lr=0.1  # retina/dr"
    )
    assert run("--data", data) == page
    assert not run.trained

    lines = run("--data", data, "--seeds", 3).splitlines()
    assert "| retina/dr | 3 | 41.0 | 80.0 / 30.2 | -0.5 (-3.0 to +2.0) |" in lines
    below = lines[lines.index("### Differences: cells") :]
    assert "| retina/dr | 3 | -0.5 ± 2.5 | +0.0 ± 0.0 / +0.0 ± 0.0 |" in below, "gaps of -1.5, -0.5 and 0.5"
    assert not [line for line in below if line.startswith(("| retina/focal", "| ssd/own"))]


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
    assert "0 of 5 runs are done; " in page


@pytest.mark.parametrize("error", [subprocess.CalledProcessError(1, "lidar-rank"), RuntimeError("job killed")])
def test_a_run_that_fails_does_not_stop_the_others(run, tmp_path, error):
    run.fails, run.error = "dr", error
    with pytest.raises(SystemExit, match=r"these runs failed.*\n.*retina/dr/0: .*got -1.0\n.*retina/dr/1: .*got -1.0"):
        run("--data", f"cells={tmp_path / 'cells'}")
    assert [name for name, _ in run.tested] == ["retina/focal", "ssd/own", "retina/focal"]
    assert "3 of 5 runs are done" in (tmp_path / "page.md").read_text()


def test_a_run_that_another_process_works_on_is_left_alone(run, tmp_path):
    data = f"cells={tmp_path / 'cells'}"
    (folder := tmp_path / "out" / "retina" / "dr" / "0").mkdir(parents=True)
    with FileLock(folder / "lock"), pytest.raises(SystemExit, match="retina/dr/0: another process works on this run"):
        run("--data", data)
    assert not (folder / "run.json").exists()
    assert "4 of 5 runs are done" in (tmp_path / "page.md").read_text()
    assert "5 of 5 runs are done" in run("--data", data)


def test_two_processes_simulate_a_data_set_once(tmp_path, monkeypatch):
    simulated = []

    def simulate(root, scans):
        simulated.append(scans)
        time.sleep(0.2)  # while the other one arrives
        root.mkdir()
        (root / "kitti_infos_val.pkl").touch()

    monkeypatch.setattr(ablation, "_simulate", simulate)
    with ThreadPoolExecutor(2) as threads:
        started = [threads.submit(ablation._simulate_once, tmp_path / "out" / "train", {"scans": 3}) for _ in range(2)]
        assert [future.result() for future in started] == [None, None]
    assert simulated == [3]


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
    (folder / "result.json").write_text(
        json.dumps({"seconds": 7200, "cells": {"metrics": {"ap": 12.34, "ap50": 1, "ap75": 2}, "resampled": []}})
    )
    page = run("--report", "--data", f"cells={tmp_path / 'cells'}")
    assert not run.trained
    assert "| retina/focal | 1 | 12.3 | 1.0 / 2.0 | - |" in page
    assert "1 of 5 runs are done; their training took 2.0 hours of one core." in page
    (folder / "result.json").write_text((folder / "result.json").read_text().replace('"seconds": 7200, ', ""))
    page = run("--report", "--data", f"cells={tmp_path / 'cells'}")
    assert "their training took 0.0 hours of one core, without 1 that were not timed." in page


def roots(tmp_path) -> list[str]:
    return [f"{name}={tmp_path / name}" for name in ("train", "test")]


def test_tuning_tries_every_trial_and_the_final_runs_take_the_best(run, tmp_path):
    run("--phase", "tune", "--data", *roots(tmp_path), study="tuned")
    assert run.tested == [("second/focal", "train")] * 2 + [("second/dr", "train")] * 2
    page = run("--data", *roots(tmp_path), study="tuned")
    assert {name for _, name in run.tested} == {"test"}
    assert [command[command.index("--seed") + 1] for command, _ in run.trained] == ["1", "1", "0", "1"]
    settings = {
        path.parent.parent.name: json.loads(path.read_text())["options"] for path in tmp_path.glob("out/*/*/0/run.json")
    }
    assert settings == {"focal": {"w": 2.0}, "dr": {"w": 0.1}}
    assert json.loads((tmp_path / "out/long/focal/0/run.json").read_text())["options"] == {"w": 2.0}
    (start,) = [word for command, _ in run.trained[-2:-1] for word in command if word.startswith("load_from")]
    assert start == f"load_from={str(tmp_path / 'out/second/focal/0/epoch_1.pth')!r}"
    assert "| second/focal | w 1.0: 51.0; w 2.0: **52.0** |" in page
    assert "| second/dr | w 1.0: 49.0; w 0.1: **49.9** |" in page


def test_trials_name_the_loss_whose_weight_they_set():
    head = "model.bbox_head"
    weights = {f"{head}.loss_cls.end.loss_weight": 0.25, f"{head}.loss_bbox.loss_weight": 4.0}
    named = ablation_page._words({**weights, "optim_wrapper.optimizer.lr": 0.004})
    assert named == "loss_cls.end.loss_weight 0.25, loss_bbox.loss_weight 4.0, lr 0.004"


def test_tuning_may_test_on_other_frames_of_a_data_set(run, tmp_path, monkeypatch):
    table = tmp_path / "studies.toml"
    text = TUNED.replace('data = "train"\ntests = ["test"]', 'data = "train"').replace(
        "simulate = { scans = 1, held = 1, seed = 5, images = false }", f'root = "{tmp_path / "train"}"'
    )
    table.write_text(
        text.replace("trials = 2 }", 'trials = 2, options = { "test_dataloader.dataset.ann_file" = "a.txt" } }')
    )
    seen, measure = {}, ablation._measure

    def keep(one, *others):
        seen[one.folder] = one.test_options
        return measure(one, *others)

    monkeypatch.setattr(ablation, "_measure", keep)
    for phase in ("tune", "final"):
        run("--phase", phase, study="tuned")
    chosen_on = {folder: options.get("test_dataloader.dataset.ann_file") for folder, options in seen.items()}
    assert {frames for folder, frames in chosen_on.items() if "tune" in folder.parts} == {"a.txt"}
    assert {frames for folder, frames in chosen_on.items() if "tune" not in folder.parts} == {None}


def test_results_on_other_simulated_scans_are_not_mixed(run, tmp_path):
    for phase in ("tune", "final"):
        run("--phase", phase, "--data", *roots(tmp_path), study="tuned")
    run("--data", *roots(tmp_path), study="tuned")
    assert not run.tested
    table = tmp_path / "studies.toml"
    table.write_text(table.read_text().replace("held = 1, seed = 6", "held = 9, seed = 6"))
    assert "| second/dr |" not in run("--report", "--data", *roots(tmp_path), study="tuned").partition("## Tuning")[0]
    run("--data", *roots(tmp_path), study="tuned")
    assert not run.trained
    assert len(run.tested) == 6


def test_a_row_may_test_the_weights_of_another(run, tmp_path, monkeypatch):
    table = tmp_path / "studies.toml"
    row = 'config = "second/second_kitti-car_tiny.py", tuned_as = "second/focal", tests_of = "second/focal"'
    table.write_text(table.read_text() + f'"late/focal" = {{ {row}, options = {{ "t" = 0.5 }} }}\n')
    run("--phase", "tune", "--data", *roots(tmp_path), study="tuned")
    weights, measure = {}, ablation._measure

    def keep(one, *others):
        weights[one.row.name] = ablation._weights(one)
        return measure(one, *others)

    monkeypatch.setattr(ablation, "_measure", keep)
    page = run("--data", *roots(tmp_path), "--seeds", 1, study="tuned")
    assert len(run.trained) == 1, "long/focal alone: the trials of the other rows are their runs of this seed"
    assert weights["late/focal"] == weights["second/focal"] == tmp_path / "out/second/focal/0/epoch_1.pth"
    assert "| late/focal | 1 |" in page
    assert "# late/focal" not in page.partition("## Commands")[2]


def test_a_fresh_clone_goes_on_from_what_was_recorded_beside_the_page(run, tmp_path):
    data = f"cells={tmp_path / 'cells'}"
    page = run("--data", data)
    shutil.rmtree(tmp_path / "out")
    assert run("--data", data) == page
    assert not run.trained
    assert len(json.loads((tmp_path / "page.json").read_text())) == 5
    run("--data", data, "--seeds", 1)
    assert len(json.loads((tmp_path / "page.json").read_text())) == 5, "what is not asked for is kept"
    (tmp_path / "page.json").unlink()
    shutil.rmtree(tmp_path / "out")
    run("--data", data)
    assert len(run.trained) == 5, "without the record everything is done anew"


def test_what_was_recorded_with_other_settings_is_done_again(run, tmp_path):
    data = f"cells={tmp_path / 'cells'}"
    run("--data", data)
    shutil.rmtree(tmp_path / "out")
    table = tmp_path / "studies.toml"
    table.write_text(table.read_text().replace("lr = 0.1", "lr = 0.2"))
    run("--data", data)
    assert {name for name, _ in run.tested} == {"retina/dr"}


def test_what_was_recorded_before_the_config_changed_is_done_again(run, tmp_path, monkeypatch):
    data = f"cells={tmp_path / 'cells'}"
    run("--data", data)
    changed = ("retinanet/retinanet_r18_small_bccd.py", "dr")
    monkeypatch.setattr(ablation, "config_digest", lambda *named: "other" if named[:2] == changed else "")
    with pytest.raises(SystemExit, match="retina/dr/0 was begun with other settings"):
        run("--data", data)
    shutil.rmtree(tmp_path / "out")
    run("--data", data)
    assert {name for name, _ in run.tested} == {"retina/dr"}


def test_weights_that_are_needed_and_not_here_are_trained_again(run, tmp_path):
    for phase in ("tune", "final"):
        run("--phase", phase, "--rows", "second/focal", "--data", *roots(tmp_path), study="tuned")
    shutil.rmtree(tmp_path / "out")
    run("--rows", "second/focal", "--data", *roots(tmp_path), study="tuned")
    assert not run.trained
    run("--rows", "long/focal", "--data", *roots(tmp_path), study="tuned")
    assert [name for name, _ in run.tested] == ["second/focal"] * 2 + ["long/focal"] * 2
    run("--rows", "long/focal", "--data", *roots(tmp_path), study="tuned")
    assert not run.trained


def test_final_runs_wait_for_their_tuning(run, tmp_path, capsys):
    with pytest.raises(SystemExit, match=r"tuning of second/focal is not done .* --phase tune --rows second/focal"):
        run("--data", *roots(tmp_path), study="tuned")
    run("--phase", "tune", "--rows", "second/focal", "--data", *roots(tmp_path), study="tuned")
    page = run("--rows", "second/focal", "--data", *roots(tmp_path), study="tuned")
    assert run.tested == [("second/focal", "test")] * 2
    assert "4 of 10 runs are done" in page, "the final runs of rows without tuning are still to come"
    assert "ablation tuned: 2 of 6 runs of phase final are done" in capsys.readouterr().out


def test_a_choice_cannot_change_once_final_runs_are_there(run, tmp_path):
    for phase in ("tune", "final"):
        run("--phase", phase, "--rows", "second/focal", "--data", *roots(tmp_path), study="tuned")
    better = tmp_path / "out/tune/second/focal/0/0/result.json"
    better.write_text(better.read_text().replace("51.0", "99.0"))
    with pytest.raises(SystemExit, match="focal/0 was begun with other settings"):
        run("--rows", "second/focal", "--data", *roots(tmp_path), study="tuned")


def test_nothing_is_chosen_among_trials_of_other_settings(run, tmp_path):
    run("--phase", "tune", "--data", *roots(tmp_path), study="tuned")
    table = tmp_path / "studies.toml"
    table.write_text(table.read_text().replace('"w" = 2.0', '"w" = 3.0'))
    with pytest.raises(SystemExit, match="focal/1/0 was begun with other settings"):
        run("--data", *roots(tmp_path), study="tuned")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            'tests = ["test"]',
            'tests = ["train"]',
            "row second/focal is tested on train, whose frames decide its settings",
        ),
        ("seed = 6", "seed = 5", "row second/focal is tested on test, whose frames decide its settings"),
        (', { "w" = 0.1 }]', "]", "row second/dr has 1 trials, every row must have 2"),
        (
            "simulate = { scans = 1, held = 1, seed = 5, images = false }",
            'root = "real"',
            r"chosen on simulated data or on frames that tuning.options names \(.*\), not on the test frames of train",
        ),
        (
            "trials = 2 }",
            'trials = 2, options = { "test_dataloader.dataset.ann_file" = "kitti_infos_val.pkl" } }',
            "kitti_infos_val.pkl, which decides its settings, is what its config tests or trains on",
        ),
        ('start = "second/focal"', 'start = "focal"', "row long/focal: there is no row focal"),
    ],
)
def test_nothing_can_be_chosen_on_test_frames_or_with_more_trials(old, new, message):
    table = ablation_table(TUNED.replace(old, new, 1))
    with pytest.raises(ValueError, match=message):
        Study("tuned", table)


def ablation_table(text: str) -> dict:
    from tools.ablation_table import tomllib

    return tomllib.loads(text)["tuned"]


VARIANTS = """
[[tuned.variants]]
name = "late"
rows = ["second/focal", "second/dr"]
start = "second/focal"
data = "test"
options = { "lr" = 0.1 }
[[tuned.variants]]
name = "cut"
rows = ["late/dr"]
same_weights = true
options = { "t" = 0.5 }
[[tuned.variants]]
name = "long"
rows = ["late/dr"]
"""


def test_variants_repeat_rows_with_their_settings():
    table = ablation_table(TUNED.replace('loss = "dr",', 'loss = "dr", seeds = 9,') + VARIANTS)
    rows = Study("tuned", table).rows
    assert list(rows) == ["second/focal", "second/dr", "long/focal", "long/dr", "late/focal", "late/dr", "cut/dr"]
    late = rows["late/dr"]
    assert (late.config, late.loss, late.tuned_as, late.trials) == (rows["second/dr"].config, "dr", "second/dr", ())
    assert (late.start, late.data, late.options, late.tests_of) == ("second/focal", "test", {"lr": 0.1}, None)
    assert (rows["second/dr"].seeds, late.seeds) == (9, rows["second/focal"].seeds)
    cut = rows["cut/dr"]
    assert (cut.tuned_as, cut.tests_of, cut.options) == ("second/dr", "late/dr", {"lr": 0.1, "t": 0.5})
    assert cut.with_options({"lr": 9.0, "t": 9.0, "w": 2.0}).options == {"lr": 0.1, "t": 0.5, "w": 2.0}


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('["late/dr"]', '["late/ap"]', "variant cut: there is no row late/ap to repeat"),
        ('"long"', '"second"', "variant second: there is a row second/dr already"),
    ],
)
def test_variant_that_repeats_nothing_or_replaces_a_row_is_an_error(old, new, message):
    with pytest.raises(ValueError, match=message):
        Study("tuned", ablation_table(TUNED + VARIANTS.replace(old, new, 1)))


def test_interval_of_a_difference_covers_seeds_and_frames():
    generator = np.random.default_rng(3)
    none = np.empty((5, 0))
    seeds = generator.normal(0.0, 2.0, (4000, 5))
    covered = [abs(gaps.mean()) < ablation_page.half_width(gaps, none) for gaps in seeds]
    assert np.mean(covered) == pytest.approx(0.95, abs=0.01)
    drawn = generator.normal(1.5, 2.0, (3, 50_000))
    assert ablation_page.half_width(np.full(3, 1.5), drawn) == pytest.approx(1.96 * 2.0 / 3**0.5, rel=0.02)
    assert ablation_page.half_width(np.array([1.5]), drawn[:1]) == 0
    assert ablation_page.half_width(np.array([1.5, 1.6]), drawn[:2]) == 0, "two seeds say nothing of their spread"
    both = ablation_page.half_width(seeds[0], drawn[[0, 0, 1, 1, 2]])
    alone = ablation_page.half_width(seeds[0], none), ablation_page.half_width(np.zeros(5), drawn[[0, 0, 1, 1, 2]])
    assert both == pytest.approx(np.hypot(*alone))


def test_stars_are_those_of_holm_within_each_detector():
    """Five values of spread 1 differ from 0 with p = 0.05 at a mean of 1.241, and with 0.05 / 3 at 1.811."""
    spread = np.array([-1.264911, -0.632456, 0.0, 0.632456, 1.264911])
    means = {"a/far": 1.9, "a/near": 1.3, "b/near": 1.3, "b/missing": np.nan, "c/near": 1.2}
    gaps = {name: mean + spread for name, mean in means.items()}
    gaps["a/alike"] = np.full(5, 2.5)  # counts among the rows, and has no star itself
    assert spread.std(ddof=1) == pytest.approx(1, abs=1e-5)
    assert ablation_page._certain(gaps, lambda name: name[0]) == {"a/far", "b/near"}


def test_pairs_cancel_what_both_rows_share():
    study = Study("tuned", ablation_table(TUNED))
    draws = np.random.default_rng(3).normal(0, 3, 200)
    focal, better = (
        {
            seed: {"metrics": {"ap": 70 + seed + gain}, "resampled": list(70 + seed + gain + draws)}
            for seed in (-2.0, 0.0, 2.0)
        }
        for gain in (0.0, 1.5)
    )
    assert ablation_page._gap(study, better, focal) == pytest.approx((1.5, 0.0))


def test_a_root_that_is_not_prepared_is_refused_before_anything_is_trained(run, tmp_path):
    (tmp_path / "test/kitti_infos_val.pkl").unlink()
    message = f"the data set test, {tmp_path / 'test'}, is not prepared .* lidar-rank create-data {tmp_path / 'test'}"
    run("--phase", "tune", "--data", *roots(tmp_path), study="tuned")
    with pytest.raises(SystemExit, match=message):
        run("--data", *roots(tmp_path), study="tuned")
    assert not run.trained


def test_a_test_on_images_has_the_metrics_of_its_own_log_in_percent(monkeypatch, tmp_path):
    study = read_studies(ablation.STUDIES)["2d"]
    data, row = study.data_sets["bccd"], study.rows["retinanet/dr"]
    run = ablation.Run(row, 0, tmp_path, data, (data,), {"test_cfg.fast": True})
    (tmp_path / "last_checkpoint").write_text("elsewhere/epoch_8.pth")
    (old := tmp_path / "test_bccd/20261128_235959").mkdir(parents=True)
    (old / "20261128_235959.json").write_text('{"coco/bbox_mAP": 0.1}')  # of a test that was killed
    called = {}

    def run_command(command, env, **_):
        called.update(command=command, root=env["BCCD_ROOT"])
        (new := tmp_path / "test_bccd/20261129_000000").mkdir()
        (new / "20261129_000000.json").write_text('{"coco/bbox_mAP": 0.5, "time": 0.07}')

    monkeypatch.setattr(ablation.subprocess, "run", run_command)
    monkeypatch.setattr(ablation, "resampled_coco_ap", lambda truth, found, draws: [truth.name, found.name, draws])
    measured = ablation._measure(run, study, data, {"bccd": tmp_path / "cells"})
    assert measured == {"metrics": {"coco/bbox_mAP": 50.0}, "resampled": ["coco.gt.json", "coco.bbox.json", 200]}
    assert called["root"] == str(tmp_path / "cells")
    words = called["command"]
    assert words[3:4] == ["test"]
    assert {"--loss", "dr", str(tmp_path / "epoch_8.pth"), "test_cfg.fast=True"} < set(words)
    assert f"test_evaluator.0.outfile_prefix={str(tmp_path / 'test_bccd/coco')!r}" in words


@pytest.mark.mm
def test_ap_of_drawn_images_is_that_of_a_set_that_has_them_as_often(tmp_path):
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    generator = np.random.default_rng(0)

    def boxes(count: int, **more) -> list[dict]:
        corner, size = generator.uniform(0, 60, (count, 2)), generator.uniform(8, 30, (count, 2))
        return [
            {"category_id": int(kind), "bbox": [*map(float, place), *map(float, extent)], "area": 1.0, **more}
            for kind, place, extent in zip(generator.integers(2, size=count), corner, size, strict=True)
        ]

    def moved(box: dict) -> dict:
        return {**box, "bbox": [value + generator.normal(0, 1) for value in box["bbox"]], "score": generator.random()}

    objects = {image: boxes(4, iscrowd=0) for image in range(6)}
    found = {image: [moved(box) for box in own] + [moved(box) for box in boxes(3)] for image, own in objects.items()}

    def files(images) -> tuple[str, str]:
        truth = {
            "info": {},
            "images": [{"id": number} for number in range(len(images))],
            "categories": [{"id": 0}, {"id": 1}],
            "annotations": [
                {**box, "image_id": number} for number, image in enumerate(images) for box in objects[int(image)]
            ],
        }
        for number, annotation in enumerate(truth["annotations"]):
            annotation["id"] = number + 1
        results = [{**box, "image_id": number} for number, image in enumerate(images) for box in found[int(image)]]
        for name, content in (("truth", truth), ("found", results)):
            (tmp_path / name).write_text(json.dumps(content))
        return tmp_path / "truth", tmp_path / "found"

    scores = ablation_page.resampled_coco_ap(*files(range(6)), 3)
    drawing, expected = np.random.default_rng(0), []
    for _ in range(3):
        truth, results = files(drawing.integers(6, size=6))
        evaluation = COCOeval(objects_of := COCO(str(truth)), objects_of.loadRes(str(results)), "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
        expected.append(100 * evaluation.stats[0])
    assert scores == pytest.approx(expected, abs=1e-3)
    assert len(set(scores)) == 3
    assert 10 < min(scores) < max(scores) < 95


def test_frames_are_taken_as_often_as_they_are_drawn(tmp_path):
    line = "Car 0 0 0 0 0 100 100 1.5 1.6 4 {} 1.6 20 0"
    for frame, cars in (("000000", 1), ("000001", 0), ("000002", 2)):
        (tmp_path / f"{frame}.txt").write_text("".join(f"{line.format(number)}\n" for number in range(cars)))
    objects = read_kitti_labels(tmp_path, ["000000", "000001", "000002"])
    taken = ablation_page._take(objects, np.array([2, 1, 2, 0]))
    assert taken.frame_start.tolist() == [0, 2, 2, 4, 5]
    assert taken.location_m[:, 0].tolist() == [0, 1, 0, 1, 0]
    assert len(set(taken.frame_ids)) == 4
