"""The page of scans in 3D and of images: its data, and what a browser makes of it."""

import base64
import json
import re
from pathlib import Path

import numpy as np
import pytest

from lidar_rank.kitti.calibration import WITHOUT_CAMERA
from lidar_rank.page import Results, Scene, SceneReader, render_page, scene_of_detections
from lidar_rank.predictions import Detections
from tests.page.cases import (
    FOUND,
    SCORES,
    TRUE,
    image_table,
    make_scans,
    results_without_camera,
    runs_of_other_classes_and_ranges,
    scan_results,
)

NAMES = ["000000", "000001"]


def detections(count: int = 3) -> Detections:
    return Detections(FOUND[:count], np.sort(SCORES[:count])[::-1], np.array(["Car"] * count))


def points(count: int = 5000) -> np.ndarray:
    rng = np.random.default_rng(0)
    scan = [rng.uniform(-20, 40, (count, 2)), rng.uniform(-2, 1, count), rng.random(count)]
    return np.column_stack(scan).astype(np.float32)


def unlabelled(name: str = "scan") -> Scene:
    return scene_of_detections(name, points(), detections())


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return make_scans(tmp_path / "training", NAMES)


def labelled_page(folder: Path, runs: int = 1) -> str:
    """Both scans; each run after the first has found the missed car too."""
    others = [scan_results(folder, NAMES, np.vstack([FOUND, TRUE[1:]]), np.r_[SCORES, 0.7])]
    reader = SceneReader([scan_results(folder, NAMES), *others * (runs - 1)])
    names = [f"run {number}" for number in range(runs)]
    return render_page(map(reader.read, NAMES), "Scans", names, min_overlap={"Car": 0.7}).text


def data_of(page: str) -> dict:
    (text,) = re.findall(r'<script id="data" type="application/json">(.*?)</script>', page, re.DOTALL)
    return json.loads(text)


def block(page: str, name: str) -> bytes:
    (text,) = re.findall(rf'<i hidden id="{name}" data-base64="(.*?)"></i>', page)
    return base64.b64decode(text)


def test_data_of_the_page(folder):
    scene, _ = data_of(labelled_page(folder))["scenes"]
    (boxes,) = scene["runs"]
    assert [(box["score"], box["verdict"], box["object"]) for box in boxes] == [(0.9, 1, -1), (0.8, 0, 0), (0.4, 1, -1)]
    assert [thing["counted"] for thing in scene["objects"]] == [[True], [True]]
    np.testing.assert_allclose(boxes[1]["box"], FOUND[0], atol=1e-3)
    assert boxes[1]["overlap"] == pytest.approx(3.9 / 4.1, abs=1e-4)
    assert scene["points"]["count"] == scene["points"]["of"] == 3000
    assert scene["picture"] == [1242, 375]


def test_points_come_back_to_a_millimetre():
    page = render_page([unlabelled()], "title", ["run"]).text
    record = data_of(page)["scenes"][0]["points"]
    position = np.frombuffer(block(page, "points-0")[: 6 * record["count"]], "<u2").reshape(-1, 3)
    metres = np.array(record["low"]) + position / 65535 * np.array(record["span"])
    np.testing.assert_allclose(metres, points()[:, :3], atol=0.002)


def test_large_scans_are_thinned():
    page = render_page([scene_of_detections("a", points(120_000), detections())], "title", ["run"]).text
    record = data_of(page)["scenes"][0]["points"]
    assert (record["count"], record["of"]) == (24_000, 120_000)
    assert len(page) < 60e6 / 200 + len(render_page([], "title", ["run"], results="-").text)


def test_a_page_over_its_size_leaves_scans_out_and_says_so():
    page = render_page((unlabelled(f"scan {number}") for number in range(20)), "title", ["run"], max_bytes=400_000)
    data = data_of(page.text)
    assert 1 < page.num_scenes == len(data["scenes"]) < 10
    assert len(page.text) < 400_000
    assert (data["note"],) == page.notes
    assert data["note"] == f"{20 - page.num_scenes} more scans would make the page larger than 0 MB"


def test_names_cannot_break_out_of_the_page():
    name = '</script><script>alert("x")</script>__RESULTS__'
    page = render_page([unlabelled(name)], "<b>title</b>", ["<i>__DATA__"]).text
    assert "<script>alert" not in page
    assert "&lt;b&gt;title" in page
    data = data_of(page)
    assert (data["scenes"][0]["name"], data["runs"][0]["name"]) == (name, "<i>__DATA__")


def test_nothing_to_show_is_an_error():
    with pytest.raises(ValueError, match="a page needs at least one scan"):
        render_page([], "title", ["run"])


def test_scan_without_points_or_boxes_has_a_page():
    empty = scene_of_detections("empty", np.zeros((0, 4), dtype=np.float32), detections(0))
    scene = data_of(render_page([empty], "title", ["run"]).text)["scenes"][0]
    assert scene["runs"] == [[]]
    assert scene["points"]["count"] == 0


def test_what_is_gone_is_named_and_the_rest_is_shown(folder):
    results = scan_results(folder, NAMES)
    (folder / "velodyne" / "000000.bin").unlink()
    (folder / "image_2" / "000000.png").write_bytes(b"not an image")
    (folder / "calib" / "000001.txt").unlink()
    without_points, without_boxes = map(SceneReader([results]).read, NAMES)
    assert re.match(r"no scan: .*000000\.bin.*; no image: cannot identify", without_points.note)
    assert without_points.points is None
    assert len(without_points.predictions[0].scores) == 3
    assert re.match(r"no calibration, so no boxes: .*000001\.txt", without_boxes.note)
    assert without_boxes.predictions == [None]


def pixels(page, place: str = "#view") -> bytes:
    page.wait_for_function("!pending")  # for 30 s at most, unlike a promise of a frame that is never drawn
    return page.locator(place).screenshot()


def summary(page, run: int = 0) -> str:
    return page.locator(".panel h2").nth(run).inner_text()


def test_page_shows_verdicts_and_its_slider_changes_what_is_drawn(folder, open_page):
    page = open_page(labelled_page(folder))
    assert summary(page) == "run 0 1 found, 2 false, 1 missed; 3000 points"
    rows = [row.split("\t") for row in page.locator("#tables tbody tr").all_inner_texts()]
    assert [row[4] for row in rows] == ["false", "found", "false", "missed"]
    assert rows[1][:4] == ["Car", "0.80", "0.95", "10.1 m"]
    drawn = [(pixels(page), pixels(page, ".panel canvas"))]
    for score, expected in (("0.5", "1 found, 1 false, 1 missed"), ("0.95", "0 found, 0 false, 2 missed")):
        page.locator("#score").fill(score)
        assert expected in summary(page)
        drawn.append((pixels(page), pixels(page, ".panel canvas")))
    scans, pictures = map(set, zip(*drawn, strict=True))
    assert (len(scans), len(pictures)) == (3, 3), "boxes leave the scan and the camera image"


def test_keys_change_scan_view_and_selection(folder, open_page):
    page = open_page(labelled_page(folder))
    drawn = [pixels(page)]
    for key in "tjf":
        page.keyboard.press(key)
        drawn.append(pixels(page))
    assert len(set(drawn)) == 4
    assert page.locator("#tables tr.selected").count() == 1
    page.keyboard.press("n")
    assert page.locator("#scan").input_value() == "1"
    assert page.locator("#tables tr.selected").count() == 1, "the box is followed into the next scan"
    page.keyboard.press("n")
    assert page.locator("#scan").input_value() == "0"
    page.keyboard.press("e")
    assert "false" in page.locator("#tables tr.selected").inner_text()
    page.keyboard.press("w")
    assert page.locator("#reversal").inner_text() == (
        "run 0: Car 0.90 with overlap 0.63 ranks above Car 0.80 with overlap 0.95 (pair 1 of 2)"
    )
    assert page.locator("#tables tr.selected").count() == 2
    page.keyboard.press("w")
    assert page.locator("#scan").input_value() == "1"
    page.keyboard.press("+")
    assert page.locator("#score").input_value() == "0.35"


def test_runs_stand_side_by_side(folder, open_page):
    page = open_page(labelled_page(folder, runs=2))
    assert summary(page).startswith("run 0 1 found, 2 false, 1 missed")
    assert summary(page, 1) == "run 1 2 found, 2 false, 0 missed"
    assert page.locator("#tables caption").all_inner_texts() == ["run 0", "run 1"]
    page.locator("#tables table").nth(1).locator("tbody tr").nth(2).click()
    assert page.locator("#tables table").nth(0).locator("tr.selected").count() == 0
    assert page.locator("#tables table").nth(1).locator("tr.selected").count() == 1


@pytest.mark.parametrize("order", [("car", "both", "near"), ("near", "both", "car")])
def test_runs_with_other_classes_and_ranges_have_their_own_verdicts(order, open_page):
    """The objects were those of the first run, at which the other runs' boxes pointed by numbers of their own."""
    runs = runs_of_other_classes_and_ranges()
    scene = SceneReader([runs[name] for name in order]).scene("000000", points(), WITHOUT_CAMERA)
    assert scene.objects.names.tolist() == ["Pedestrian", "Pedestrian", "Car", "Car"]
    counted = {"car": [False, False, True, True], "both": [True] * 4, "near": [True, True, True, False]}
    matched = {"car": [2, 3], "both": [0, 1, 2, 3], "near": [0, 1, 2]}
    assert scene.objects.is_counted.tolist() == [counted[name] for name in order]
    assert [found.object_of.tolist() for found in scene.predictions] == [matched[name] for name in order]
    page = open_page(render_page([scene], "Scans", order).text)
    page.locator("#score").fill("0.75")  # above the scores of the cars
    above = {
        "car": "0 found, 0 false, 2 missed",
        "both": "2 found, 0 false, 2 missed",
        "near": "2 found, 0 false, 1 missed",
    }
    assert [summary(page, run).split("; ")[0] for run in range(3)] == [f"{name} {above[name]}" for name in order]


def test_mouse_turns_moves_zooms_and_picks(folder, open_page):
    page = open_page(labelled_page(folder))
    pictures = [pixels(page)]
    page.mouse.move(300, 300)
    page.mouse.wheel(0, -300)
    pictures.append(pixels(page))
    page.mouse.down()
    page.mouse.move(380, 330)
    page.mouse.up()
    pictures.append(pixels(page))
    page.keyboard.down("Shift")
    page.mouse.down()
    page.mouse.move(300, 360)
    page.mouse.up()
    page.keyboard.up("Shift")
    pictures.append(pixels(page))
    page.locator("#box-colour").select_option("1")
    pictures.append(pixels(page))
    page.locator("#show-boxes").uncheck()
    pictures.append(pixels(page))
    assert len(set(pictures)) == len(pictures)
    page.keyboard.press("j")  # which brings the box into the middle of its panel
    page.keyboard.press("n")
    page.keyboard.press("p")
    assert page.locator("#tables tr.selected").count() == 0
    place, strip = (page.locator(part).bounding_box() for part in ("#stage", ".panel canvas"))
    page.mouse.click(place["x"] + place["width"] / 2, (place["y"] + strip["y"]) / 2)
    assert page.locator("#tables tr.selected").inner_text().split("\t")[1] == "0.90"


def test_scans_without_labels_have_no_verdicts(open_page):
    page = open_page(render_page([unlabelled()], "title", ["predictions"]).text)
    assert summary(page) == "predictions 3 boxes; 5000 points"
    page.keyboard.press("w")
    assert page.locator("#reversal").inner_text() == "Without labels there are no reversed pairs."


def test_scans_without_a_camera_have_verdicts(tmp_path, open_page):
    """The projection into an image that there is not ended the report of a run on own data with a traceback."""
    folder = make_scans(tmp_path / "training", NAMES, images=False)
    reader = SceneReader([results_without_camera(folder, NAMES)])
    text = render_page(map(reader.read, NAMES), "Scans", ["run"], min_overlap={"Car": 0.7}).text
    scene = data_of(text)["scenes"][0]
    assert "projection" not in scene
    np.testing.assert_allclose([thing["box"] for thing in scene["objects"]], TRUE, atol=1e-3)
    assert summary(open_page(text)) == "run 1 found, 2 false, 1 missed; 3000 points"


def test_images_have_a_page_too(folder, open_page):
    truth = image_table("000000", ["cell", "DontCare"], [[100, 50, 400, 300], [700, 50, 900, 200]], None)
    found = image_table(
        "000000", ["cell"] * 3, [[110, 50, 400, 300], [720, 60, 880, 200], [0, 0, 90, 90]], [0.9, 0.8, 0.7]
    )
    results = Results((folder / "image_2" / "000000.png",), False, False, {"cell": 0.5}, "recall", truth, found)
    page = open_page(render_page([SceneReader([results]).read("000000")], "Cells", ["retina"]).text)
    page.wait_for_function("data.scenes[0].bitmap")
    assert summary(page) == "retina 1 found, 1 false, 0 missed"
    rows = [row.split("\t") for row in page.locator("#tables tbody tr").all_inner_texts()]
    assert [row[4] for row in rows] == ["found", "not counted", "false"]
    assert rows[0][3] == "290 x 250"
    drawn = [pixels(page, ".panel canvas")]
    page.locator("#score").fill("0.75")
    drawn.append(pixels(page, ".panel canvas"))
    image = page.locator(".panel canvas").bounding_box()
    scale = image["width"] / 1242
    page.mouse.click(image["x"] + 200 * scale, image["y"] + 200 * scale)
    assert page.locator("#tables tr.selected").inner_text().split("\t")[1] == "0.90"
    drawn.append(pixels(page, ".panel canvas"))
    assert len(set(drawn)) == 3
