"""The page of several runs: its numbers are those of the evaluation, and it says what it cannot show."""

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from lidar_rank.cli import main
from lidar_rank.evaluation import evaluate_folders
from lidar_rank.kitti.labels import KittiObjects, write_kitti_results
from lidar_rank.page import Results, Run, render_report
from lidar_rank.page.charts import heat_map, line_chart, stairs
from tests.page.cases import FOUND, SCORES, image_table, make_scans, moved, results_without_camera, run_of, scan_results

NAMES = [f"{number:06d}" for number in range(12)]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return make_scans(tmp_path / "training", NAMES, images=False)


def write_labels(folder: Path, objects: KittiObjects) -> None:
    """Label files are result files without a score."""
    write_kitti_results(folder, replace(objects, score=np.zeros(len(objects))))
    for path in folder.iterdir():
        path.write_text("".join(f"{line.rpartition(' ')[0]}\n" for line in path.read_text().splitlines()))


def measured(results: Results, folder: Path, **settings: str) -> Run:
    """A run with the numbers that ``lidar-rank evaluate`` finds."""
    write_labels(folder / "label_2", results.objects)
    write_kitti_results(folder / "results", results.detections)
    ap = evaluate_folders(folder / "label_2", folder / "results", classes=["Car"]).ap_percent()
    metrics = {
        f"kitti/Car/{metric}/R40/{difficulty}": value
        for metric, values in ap["Car"].items()
        for difficulty, value in zip(("easy", "moderate", "hard"), values["R40"], strict=True)
    }
    return run_of(results, metrics=metrics, **settings)


def cells(page, heading: str) -> list[list[str]]:
    section = page.locator("section", has=page.locator("h2", has_text=heading))
    return [row.locator("td").all_inner_texts() for row in section.locator("tbody tr").all()]


def test_numbers_of_the_page_are_those_of_the_evaluation(folder, open_page, capsys):
    better = scan_results(folder, NAMES, FOUND, np.array([0.9, 0.8, 0.4]))
    settings = {"model.loss_cls.type": "'DRLoss'", "randomness.seed": "0"}
    runs = {
        "focal": measured(scan_results(folder, NAMES), folder, **settings | {"model.loss_cls.type": "'FocalLoss'"}),
        "<dr>": measured(better, folder, **settings),
    }
    page = open_page(render_report(runs).text)
    assert page.locator("#tables caption").all_inner_texts() == ["focal", "<dr>"]
    page.click("#tab-results")
    assert not page.locator("#scans").is_visible()
    assert main(["evaluate", str(folder / "label_2"), str(folder / "results"), "--classes", "Car"]) == 0
    printed = {words[1]: words[3:] for line in capsys.readouterr().out.splitlines() if len(words := line.split()) == 9}
    shown = {row[0]: row[1:] for row in cells(page, "Average precision")}
    assert {name.removeprefix("Car "): row[1::2] for name, row in shown.items()} == {
        metric: values[1::2] for metric, values in printed.items()
    }
    assert cells(page, "What a better ranking")[1][:2] == ["Car, <dr>", shown["Car 3d"][3]]
    assert cells(page, "AP by distance")[0] == ["0 to 30 m", "24", "25.00", "50.00"]
    assert cells(page, "Settings that differ") == [["model.loss_cls.type", "'FocalLoss'", "'DRLoss'"]]
    for index, run in enumerate(runs.values(), start=1):
        ratio = run.diagnosis.pairs.foreground_background.ratio
        assert cells(page, "Reversed pairs")[0][index] == f"{100 * ratio:.3f}"
    assert page.locator("svg.chart").count() == 1 + 3 + 2


def test_runs_with_other_bands_share_the_rows_of_those_that_are_the_same(folder, open_page):
    own = scan_results(folder, NAMES)
    other = replace(own, bands_m=(0, 30), min_overlap={"Car": 0.6})
    outside = replace(own.objects, occlusion=np.tile([0.0, 4.0], len(NAMES)))
    runs = {"a": run_of(own), "b": run_of(other), "near": run_of(replace(own, objects=outside))}
    page = open_page(render_report(runs).text)
    page.click("#tab-results")
    assert cells(page, "AP by distance") == [
        ["0 to 30 m", "24 / 12", "25.00", "50.00", "50.00"],
        ["30 to 50 m", "0", "-", "-", "-"],
        ["30 m and more", "0", "-", "-", "-"],
        ["50 m and more", "0", "-", "-", "-"],
    ]


def test_one_scan_without_detections_is_shown(folder, open_page):
    nothing = run_of(scan_results(folder, NAMES[:1], FOUND[:0], SCORES[:0]))
    page = open_page(render_report({"nothing": nothing}).text)
    assert page.locator(".panel h2").inner_text() == "nothing 0 found, 0 false, 2 missed; 3000 points"
    page.keyboard.press("n")
    page.keyboard.press("w")
    assert page.locator("#reversal").inner_text() == "No reversed pair of boxes at this score."
    assert page.locator("p.warning").all_text_contents() == [
        "nothing has found nothing: no detections in 1 scans or images."
    ]


def test_a_run_without_results_is_named_and_its_numbers_are_shown(folder, open_page):
    old = run_of(None, metrics={"kitti/Car/3d/R40/moderate": 12.345})
    page = open_page(render_report({"new": run_of(scan_results(folder, NAMES[:2])), "old": old}).text)
    assert page.locator(".panel h2").nth(1).inner_text() == "old no result for this scan"
    assert "old has no boxes to show" in page.locator("p.warning").text_content()
    page.click("#tab-results")
    assert cells(page, "Average precision") == [["Car 3d", "-", "12.35"]]
    alone = open_page(render_report({"old": old}).text)
    assert not alone.locator("nav button").first.is_visible()
    assert cells(alone, "Average precision") == [["Car 3d", "12.35"]]


def test_runs_on_other_data_are_told_apart(folder, tmp_path):
    own = run_of(scan_results(folder, NAMES[:3]))
    elsewhere = make_scans(tmp_path / "simulated", NAMES[:3], images=False)
    other = run_of(scan_results(elsewhere, NAMES[:3], true=np.stack([moved(1, 1), moved(15, -5)])))
    page = render_report({"a": own, "b": other})
    assert page.num_scenes == 3
    (note,) = page.notes
    assert re.match(r"b and a were tested on different data, .*simulated/velodyne and .*training/velodyne", note)
    assert note in page.text
    part = run_of(scan_results(folder, NAMES[1:5]))
    assert "b was tested on 4 scans and a on 3, of which 2 are the same" in render_report({"a": own, "b": part}).text
    image = image_table(NAMES[0], ["Car"], [[0, 0, 9, 9]], None)
    found = image_table(NAMES[0], ["Car"], [[0, 0, 9, 9]], [0.5])
    of_image = run_of(Results((folder / "a.png",), False, False, {"Car": 0.5}, "recall", image, found))
    assert "b and a were tested on different data" in render_report({"a": own, "b": of_image}).text


def test_runs_on_other_scans_without_a_camera_are_told_apart(folder, tmp_path):
    """Frames of every import are called 000000 and so on, and no image box tells their objects apart."""
    own = run_of(results_without_camera(folder, NAMES[:3]))
    elsewhere = make_scans(tmp_path / "other", NAMES[:3], images=False)
    other = run_of(results_without_camera(elsewhere, NAMES[:3], np.stack([moved(1, 1), moved(15, -5)])))
    (note,) = render_report({"a": own, "b": other}).notes
    assert note.startswith("b and a were tested on different data")


def test_hints_are_of_what_the_runs_have(folder):
    """Under AP in bands of distance stood what easy, moderate and hard objects are."""
    metrics = {"lidar/Car/3d/R40/all": 50.0, "lidar/Car/3d/R40/0-30m": 60.0}
    own = render_report({"a": run_of(results_without_camera(folder, NAMES[:1]), metrics=metrics)}).text
    assert "AP at 40 recalls, for all objects and in bands of distance; 3d is the overlap of volumes" in own
    for word in ("moderate", "COCO", "in the image"):
        assert word not in re.sub("<script.*?</script>", "", own, flags=re.DOTALL), word
    kitti = render_report({"a": run_of(scan_results(folder, NAMES[1:2]), metrics={"kitti/Car/3d/R40/easy": 5.0})}).text
    assert "KITTI's AP at 40 recalls, for the easy, moderate and hard objects; 3d is" in kitti


def test_scans_are_chosen_evenly(folder):
    page = render_report({"a": run_of(scan_results(folder, NAMES))}, max_scans=3)
    assert re.findall(r'"name": "(0000\d\d)"', page.text) == ["000000", "000006", "000011"]


def test_runs_without_ap_say_so_and_none_is_an_error():
    assert "No run has an average precision" in render_report({"a": run_of(None)}).text
    with pytest.raises(ValueError, match="runs is empty"):
        render_report({})


def test_200_scans_with_images_stay_below_60_megabytes(tmp_path):
    """A scan of 30,000 points with an image full of detail is what fills a page most."""
    folder = make_scans(tmp_path / "training", NAMES[:1])
    points = np.random.default_rng(0).random((30_000, 4), dtype=np.float32)
    points.tofile(folder / "velodyne" / "000000.bin")
    rows = np.tile(FOUND, (10, 1)), np.linspace(0.1, 0.9, 30)
    one = run_of(scan_results(folder, NAMES[:1], *rows))
    with_scan = len(render_report({"a": one, "b": one}).text)
    without = len(render_report({"a": one, "b": one}, max_scans=0).text)
    assert 200 * (with_scan - without) + without < 60e6


def test_charts_draw_their_numbers():
    chart = line_chart(
        {"<a>": (np.array([0, 1]), np.array([1, 0.5])), "b": (np.zeros(0), np.zeros(0))}, "recall", "precision"
    )
    assert '<polyline points="52.0,10.0 408.0,124.0"' in chart
    assert "<title>&lt;a&gt;</title>" in chart
    x, y = stairs(np.array([1, 3]), np.array([0, 0.5, 1]))
    assert (x.tolist(), y.tolist()) == ([0, 0.5, 0.5, 1], [0.25, 0.25, 0.75, 0.75])
    cell, *others = re.findall(r"<rect[^>]*>", heat_map(np.array([[0, 0], [0, 5]]), "overlap", "score", 0))
    assert not others
    assert 'x="230.0" y="10.0"' in cell
    assert 'fill-opacity="1.00"' in cell
