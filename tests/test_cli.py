"""Commands: what they print, and one line for bad input."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

import lidar_rank
from lidar_rank.cli import main

# Commands import open3d and the host, which warn of themselves.
pytestmark = pytest.mark.filterwarnings("ignore")

LABEL = "Car 0.00 0 -1.57 500.00 150.00 600.00 220.00 1.50 1.60 4.00 1.00 1.70 20.00 -1.57"


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    """Labels of two frames, and results that find the one car."""
    labels, results = tmp_path / "labels", tmp_path / "results"
    for folder, line in ((labels, LABEL), (results, LABEL + " 0.90")):
        folder.mkdir()
        (folder / "000001.txt").write_text(line + "\n")
        (folder / "000002.txt").write_text("")
    return labels, results


def test_evaluate_prints_a_table_and_writes_json(folders, tmp_path, capsys):
    labels, results = map(str, folders)
    out = tmp_path / "ap.json"
    assert main(["evaluate", labels, results, "--classes", "Car", "--sampling", "recall", "--json", str(out)]) == 0
    assert "Car 3d @0.7" in capsys.readouterr().out
    ap = json.loads(out.read_text())
    assert set(ap["Car"]) == {"bbox", "bev", "3d", "aos"}
    assert ap["Car"]["3d"]["R40"] == [100.0, 100.0, 100.0]


def test_threshold_applies_to_every_class(folders, tmp_path):
    labels, results = folders
    (results / "000001.txt").write_text(LABEL.replace("20.00 -1.57", "20.80 -1.57") + " 0.90\n")
    values = []
    for overlap in ("0.5", "0.7"):
        out = tmp_path / f"{overlap}.json"
        options = ["--classes", "car", "--sampling", "recall", "--iou", overlap, "--json", str(out)]
        assert main(["evaluate", str(labels), str(results), *options]) == 0
        values.append(json.loads(out.read_text())["car"]["3d"]["R40"][0])
    assert values == [100.0, 0.0]


def test_frames_choose_what_a_missing_result_file_means(folders, tmp_path, capsys):
    labels, results = map(str, folders)
    (tmp_path / "labels" / "000003.txt").write_text(LABEL + "\n")
    command = ["evaluate", labels, results, "--classes", "Car", "--sampling", "recall"]
    assert main(command) == 2
    error = capsys.readouterr().err
    assert all(way in error for way in ("000003", "--split FILE", "--frames labels", "--frames results"))
    assert error.count("\n") == 1
    for frames, ap, note in (
        ("labels", 50.0, f"all 3 of {labels}; 1 of them have no result file, which counts as nothing found"),
        ("results", 100.0, f"the 2 with a result file among the 3 of {labels}"),
    ):
        out = tmp_path / f"{frames}.json"
        assert main([*command, "--frames", frames, "--json", str(out)]) == 0
        assert json.loads(out.read_text())["Car"]["3d"]["R40"] == [ap] * 3
        assert f"frames: {note}\n" in capsys.readouterr().out


def test_objects_of_the_minimum_height_count_unless_min_height_is_le(folders, tmp_path):
    labels, results = folders
    low = LABEL.replace("220.00", "190.00")  # 40 px high
    (labels / "000001.txt").write_text(low + "\n")
    (results / "000001.txt").write_text(low + " 0.9\n")
    values = []
    for options in ([], ["--min-height", "lt"], ["--min-height", "le"]):
        out = tmp_path / "ap.json"
        command = ["evaluate", str(labels), str(results), "--classes", "Car", "--sampling", "recall", *options]
        assert main([*command, "--json", str(out)]) == 0
        values.append(json.loads(out.read_text())["Car"]["3d"]["R40"])
    assert values == [[100.0] * 3, [100.0] * 3, [0.0, 100.0, 100.0]]


def test_extra_thresholds_are_further_metrics(folders, tmp_path, capsys):
    labels, results = folders
    (results / "000001.txt").write_text(LABEL.replace("20.00 -1.57", "20.80 -1.57") + " 0.90\n")
    out = tmp_path / "ap.json"
    options = ["--classes", "Car", "--sampling", "recall", "--extra-iou", "0.5", "0.25", "--json", str(out)]
    assert main(["evaluate", str(labels), str(results), *options]) == 0
    assert "Car 3d @0.25" in capsys.readouterr().out
    ap = json.loads(out.read_text())["Car"]
    assert [ap[metric]["R40"][0] for metric in ("3d", "3d@0.5", "3d@0.25")] == [0.0, 100.0, 100.0]


def test_split_chooses_the_frames(folders, tmp_path, capsys):
    labels, results = folders
    (tmp_path / "val.txt").write_text("000001\n000003\n")
    assert main(["evaluate", str(labels), str(results), "--split", str(tmp_path / "val.txt")]) == 2
    error = capsys.readouterr().err
    assert "000003" in error
    assert error.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["evaluate", "nowhere", "nowhere"], "nowhere"),
        (["create-data", "nowhere"], "nowhere"),
        (["simulate", "somewhere", "--scans", "0"], "scans"),
        (["train", "nowhere.py"], "no config at nowhere.py"),
        (["test", "weights.pth", "config.py"], "weights.pth is no config"),
        (["test", "config.py", "nowhere.pth"], "no checkpoint at nowhere.pth"),
        (["train", "config.py", "--work-dir", "config.py/runs"], "config.py is a file"),
        (["test", "config.py", "weights.pth", "--out", "config.py"], "config.py is a file"),
        (["analyze", "config.py", "weights.pth", "--out", "."], ". is a folder"),
        (["tune-weight", "config.py", "weights.pth"], "needs --loss NAME"),
        (["tune-weight", "config.py", "weights.pth", "--loss", "dr", "--batches", "0"], "batches must be at least 1"),
        (["report", "nowhere.json"], "nowhere.json"),
        (["report", "nowhere.json", "--scans", "-1"], "scans must be at least 0, got -1"),
        (["view", "nowhere.json"], "nowhere.json"),
        (["view", "nowhere.json", "--picture", "."], ". is a folder"),
        (["evaluate", ".", ".", "--json", "config.py/ap.json"], "config.py is a file"),
        (["create-data", ".", "--jobs", "0"], "jobs and image_size must be at least 1, got jobs=0"),
        (["simulate", "somewhere", "--scans", "2", "--jobs", "0"], "jobs must be at least 1, got 0"),
        (["demo", "--held-back", "0"], "held_back must be at least 1, got 0"),
        (["demo", "--scans", "-3"], "scans must be at least 1, got -3"),
        (["demo", "--jobs", "0"], "jobs must be at least 1, got 0"),
        (["demo", "--seed", "-1"], "seed must be at least 0, got -1"),
    ],
)
def test_bad_input_is_one_line_and_status_2(arguments, message, capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    for name in ("config.py", "weights.pth"):
        Path(name).write_text("")
    assert main(arguments) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"lidar-rank {arguments[0]}: ")
    assert message in error
    assert error.count("\n") == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["config.py", "weights.pth"]


@pytest.mark.parametrize(
    "arguments", [["train", "nowhere.py"], ["test", __file__, "nowhere.pth"], ["demo", "--held-back", "0"]]
)
def test_bad_input_is_found_before_the_host_is_imported(arguments):
    look = "{'torch', 'mmengine'} & {*sys.modules}"
    code = f"import sys; from lidar_rank.cli import main; print(main({arguments!r}), {look})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "2 set()\n"


def test_version_is_that_of_the_package(capsys):
    with pytest.raises(SystemExit) as stop:
        main(["--version"])
    assert stop.value.code == 0
    assert capsys.readouterr().out == f"lidar-rank {lidar_rank.__version__}\n"


def test_options_of_a_config_are_literals_where_they_can_be(monkeypatch):
    seen = {}
    monkeypatch.setattr("lidar_rank.mm.running.train", lambda config, **options: seen.update(config=config, **options))
    words = ["a.b=3", "c=[1, 2]", "d=text", "e=True"]
    assert main(["train", __file__, "--seed", "4", "--cfg-options", *words]) == 0
    assert seen["options"] == {"a.b": 3, "c": [1, 2], "d": "text", "e": True}
    assert seen["seed"] == 4


def test_options_of_a_config_may_be_given_in_parts(monkeypatch):
    seen = {}
    monkeypatch.setattr("lidar_rank.mm.running.train", lambda config, **options: seen.update(config=config, **options))
    assert main(["train", __file__, "--cfg-options", "a=1", "b=1", "--amp", "--cfg-options", "b=2", "c=2"]) == 0
    assert seen["options"] == {"a": 1, "b": 2, "c": 2}


def test_option_without_a_value_is_refused(capsys):
    with pytest.raises(SystemExit):
        main(["train", "x.py", "--cfg-options", "novalue"])
    assert "KEY=VALUE, got 'novalue'" in capsys.readouterr().err


def test_help_and_evaluate_start_without_torch():
    modules = "lidar_rank.cli, lidar_rank.kitti.labels, lidar_rank.evaluation"
    code = f"import sys, {modules}; print('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "False\n"


@pytest.mark.parametrize(
    "command",
    ["simulate", "create-data", "train", "test", "evaluate", "analyze", "tune-weight", "report", "view", "demo"],
)
def test_every_command_has_a_help_with_an_example(command, capsys):
    with pytest.raises(SystemExit) as stop:
        main([command, "--help"])
    assert stop.value.code == 0
    assert f"example: lidar-rank {command} " in capsys.readouterr().out


def test_a_reader_that_has_seen_enough_ends_a_command_quietly(folders):
    command = [sys.executable, "-m", "lidar_rank.cli", "evaluate", *map(str, folders)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 141, "as of a program that the signal of the closed pipe ends"
