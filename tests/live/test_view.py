"""``lidar-rank view``: a picture, a browser on another machine and a window, and what is missing for each."""

import json
import socket
import sys
import types
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lidar_rank.cli import main
from lidar_rank.kitti.calibration import WITHOUT_CAMERA
from lidar_rank.live import RunScenes
from lidar_rank.live.remote import ScenePanel
from lidar_rank.live.scenes import boxes_at
from lidar_rank.live.window import KEYS, Window
from lidar_rank.page import Results, SceneReader, read_run
from tests.page.cases import (
    FOUND,
    SCORES,
    TRUE,
    image_table,
    make_scans,
    results_without_camera,
    run_of,
    runs_of_other_classes_and_ranges,
    scan_results,
)

NAMES = ["000000", "000001"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return make_scans(tmp_path / "training", NAMES)


@pytest.fixture
def files(folder: Path) -> list[str]:
    """Two runs, of which the second has found every object."""
    better = np.vstack([FOUND, TRUE[1:]]), np.r_[SCORES, 0.7]
    paths = [folder.parent / "focal.json", folder.parent / "dr.json"]
    for path, boxes in zip(paths, ([], better), strict=True):
        path.write_text(json.dumps(run_of(scan_results(folder, NAMES, *boxes)).to_json()))
    return [str(path) for path in paths]


@pytest.fixture
def scenes(files) -> RunScenes:
    return RunScenes({Path(path).stem: read_run(Path(path)) for path in files})


def test_boxes_have_the_colours_of_their_verdicts_at_a_score(scenes):
    scene = scenes.read(NAMES[0])
    assert boxes_at(scene, 0, 0.3).kinds.tolist() == ["object", "missed", "false", "found", "false"]
    assert boxes_at(scene, 1, 0.85).kinds.tolist() == ["missed", "missed", "false"]
    assert boxes_at(scene, 1, 0.3).summary == "2 found, 2 false, 0 missed"
    lines = boxes_at(scene, 0, 0.3).lines
    assert lines.shape == (5, 13, 2, 3)
    start, end = lines[0, 12]
    np.testing.assert_allclose([start, end], [[10, 0, -0.2], [12, 0, -0.2]], atol=0.01)
    lengths = np.sort(np.linalg.norm(lines[0, :12, 0] - lines[0, :12, 1], axis=1))
    np.testing.assert_allclose(lengths, np.repeat([1.5, 1.6, 4.0], 4), atol=1e-6)


@pytest.mark.parametrize("order", [("car", "both", "near"), ("near", "both", "car")])
def test_runs_with_other_classes_and_ranges_have_their_own_verdicts(order):
    runs = runs_of_other_classes_and_ranges()
    scene = SceneReader([runs[name] for name in order]).scene("000000", None, WITHOUT_CAMERA)
    kinds = {  # of the objects: two persons and two cars, the last far away
        "car": ["ignored", "ignored", "missed", "missed"],
        "both": ["object", "object", "missed", "missed"],
        "near": ["object", "object", "missed", "ignored"],
    }
    for run, name in enumerate(order):
        assert boxes_at(scene, run, 0.75).kinds[:4].tolist() == kinds[name], name


def test_picture_needs_no_display_and_shows_each_run(files, folder, monkeypatch, capsys):
    monkeypatch.delenv("DISPLAY", raising=False)
    pictures = []
    for name, score in (("a.png", "0.3"), ("b.png", "0.95")):
        out = folder.parent / "new" / name
        assert main(["view", *files, "--scan", NAMES[1], "--score", score, "--picture", str(out)]) == 0
        pictures.append(np.asarray(Image.open(out).convert("RGB")))
    assert pictures[0].shape == (600, 1600, 3)
    assert (pictures[0] != pictures[1]).any()
    left, right = np.split(pictures[0], 2, axis=1)
    assert (left != right).any()
    assert f"shows {NAMES[1]}" in capsys.readouterr().out


def test_picture_of_a_scan_without_a_camera(folder, capsys):
    path = folder.parent / "own.json"
    path.write_text(json.dumps(run_of(results_without_camera(folder, NAMES)).to_json()))
    assert main(["view", str(path), "--picture", str(folder.parent / "own.png")]) == 0
    assert f"shows {NAMES[0]}" in capsys.readouterr().out


def test_picture_of_an_image(folder, capsys):
    table = image_table("000000", ["cell"], [[100, 50, 400, 300]], None)
    found = image_table("000000", ["cell"], [[600, 50, 900, 300]], [0.9])
    run = run_of(Results((folder / "image_2" / "000000.png",), False, False, {"cell": 0.5}, "recall", table, found))
    path = folder.parent / "cells.json"
    path.write_text(json.dumps(run.to_json()))
    assert main(["view", str(path), "--picture", str(folder.parent / "cells.png")]) == 0
    pixels = np.asarray(Image.open(folder.parent / "cells.png").convert("RGB")).reshape(-1, 3).tolist()
    assert [248, 113, 113] in pixels, "the false box is red"
    assert main(["view", str(path), "--port", "8080"]) == 2
    assert "runs on images, not scans" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "there is no display: show the scans in a browser with --port 8080, or draw one with --picture FILE"),
        (["--scan", "7"], "no scan '7' in these runs: there are 2, such as '000000'"),
        (["--port", "70000"], "cannot listen at port 70000 of 127.0.0.1"),
        (["--port", "8080", "--host", "192.0.2.1"], "cannot listen at port 8080 of 192.0.2.1"),
    ],
)
def test_what_is_missing_is_one_line(files, arguments, message, monkeypatch, capsys):
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setitem(sys.modules, "viser", types.ModuleType("viser"))
    assert main(["view", *files, *arguments]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


def test_a_port_in_use_is_one_line(files, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "viser", types.ModuleType("viser"))
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert main(["view", *files, "--port", str(port)]) == 2
    message = f"lidar-rank view: cannot listen at port {port} of 127.0.0.1 (Address already in use): name another"
    assert capsys.readouterr().err.startswith(message)


def test_the_extra_with_viser_is_named(files, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "viser", None)
    assert main(["view", *files, "--port", "8080"]) == 2
    assert "pip install 'lidar_rank[view]' installs what this command needs" in capsys.readouterr().err


def test_a_run_without_boxes_is_one_line(folder, capsys):
    path = folder.parent / "old.json"
    path.write_text(json.dumps(run_of(None).to_json()))
    assert main(["view", str(path)]) == 2
    assert capsys.readouterr().err.startswith("lidar-rank view: old has no boxes to show")


class FakeWindow:
    """Open3D's window without a display: it keeps the keys and what it would draw."""

    def __init__(self) -> None:
        self.keys, self.geometries = {}, []
        self.options = types.SimpleNamespace()
        self.looks = []

    def register_key_callback(self, key, action) -> None:
        self.keys[key] = action

    def get_render_option(self) -> types.SimpleNamespace:
        return self.options

    def get_view_control(self) -> types.SimpleNamespace:
        names = ("set_lookat", "set_front", "set_up", "set_zoom")
        return types.SimpleNamespace(**dict.fromkeys(names, self.looks.append))

    def clear_geometries(self) -> None:
        self.geometries.clear()

    def add_geometry(self, geometry, *, reset_bounding_box: bool) -> None:  # noqa: ARG002
        self.geometries.append(geometry)


@pytest.mark.filterwarnings("ignore")
def test_keys_of_the_window_change_scan_run_score_and_view(scenes, capsys):
    open3d = pytest.importorskip("open3d")
    window = FakeWindow()
    Window(open3d, window, scenes, 0, 0.3)

    def press(key: str) -> str:
        window.keys[KEYS[key]](window)
        return capsys.readouterr().out.rstrip()

    cloud, lines = window.geometries
    assert (len(cloud.points), len(lines.lines), len(lines.colors)) == (3000, 5 * 13, 5 * 13)
    assert "000000, focal, score at least 0.30: 1 found, 2 false, 1 missed" in capsys.readouterr().out
    assert press("n").startswith("000001, focal")
    assert press("m") == "000001, dr, score at least 0.30: 2 found, 2 false, 0 missed"
    assert "0.35" in press("+")
    assert "0.30" in press("-")
    assert press("p").startswith("000000, dr")
    looks = len(window.looks)
    press("t")
    press("r")
    assert len(window.looks) == looks + 8


@pytest.mark.filterwarnings("ignore")
def test_browsers_see_what_the_controls_choose(scenes):
    viser = pytest.importorskip("viser")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    server = viser.ViserServer(host="127.0.0.1", port=port, verbose=False)
    drawn = []
    add = server.scene.add_line_segments
    server.scene.add_line_segments = lambda name, points, *rest, **options: (
        drawn.append(len(points)),
        add(name, points, *rest, **options),
    )
    try:
        panel = ScenePanel(server, scenes, 1, 0.3)
        assert panel.scan.value == NAMES[1]
        assert panel.summary.content == "1 found, 2 false, 1 missed"
        panel.score.value = 0.85
        assert panel.summary.content == "0 found, 1 false, 2 missed"
        panel.objects.value = False
        panel.run.value = "dr"
        panel.score.value = 0.3
        assert panel.summary.content == "2 found, 2 false, 0 missed"
        assert [count // 13 for count in drawn] == [5, 3, 1, 1, 4]
    finally:
        server.stop()
