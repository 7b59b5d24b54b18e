"""The page of scans in 3D: its data, and what a browser makes of it."""

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest

from lidar_rank.page import Scene, match_boxes, render_page
from lidar_rank.predictions import Detections

CAR = np.array([10.0, 0.0, -1.7, 4.0, 1.6, 1.5, 0.0])
CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")


def moved(x_m: float, y_m: float) -> np.ndarray:
    return CAR + np.array([x_m, y_m, 0, 0, 0, 0, 0])


def scene(name: str = "000001", *, labelled: bool = True) -> Scene:
    """One car found twice, one false, one missed."""
    found = np.stack([moved(0.1, 0), moved(0.3, 0), moved(0, 8)])
    detections = Detections(found, np.array([0.9, 0.8, 0.4]), np.array(["Car"] * 3))
    rng = np.random.default_rng(0)
    points = np.column_stack([rng.uniform(-20, 40, (5000, 2)), rng.uniform(-2, 1, 5000), rng.random(5000)])
    true = np.stack([CAR, moved(20, -5)]) if labelled else None
    return Scene(name, points.astype(np.float32), detections, true, np.array(["Car", "Car"]))


def data_of(page: str) -> dict:
    (text,) = re.findall(r'<script id="data" type="application/json">(.*?)</script>', page, re.DOTALL)
    return json.loads(text)


def test_each_object_is_matched_once_by_the_best_prediction():
    assert match_boxes(scene(), 0.5).tolist() == [0, -1, -1]
    assert match_boxes(scene(), 0.99).tolist() == [-1, -1, -1]
    assert match_boxes(scene(labelled=False), 0.5).tolist() == [-1, -1, -1]


def test_predictions_of_another_class_match_nothing():
    one = scene()
    other = Scene(one.name, one.points, one.detections, one.true_boxes, np.array(["Van", "Van"]))
    assert match_boxes(other, 0.5).tolist() == [-1, -1, -1]


def test_data_of_the_page():
    (packed,) = data_of(render_page([scene()], "title"))["scenes"]
    assert [box["found"] for box in packed["boxes"]] == [True, False, False]
    assert [thing["score"] for thing in packed["objects"]] == [0.9, -1.0]
    assert packed["boxes"][0]["box"][:2] == [10.1, 0.0]
    assert packed["count"] == packed["of"] == 5000


def test_points_come_back_to_a_millimetre():
    import base64

    one = scene()
    (packed,) = data_of(render_page([one], "title"))["scenes"]
    position = np.frombuffer(base64.b64decode(packed["position"]), "<u2").reshape(-1, 3)
    metres = np.array(packed["low"]) + position / 65535 * np.array(packed["span"])
    np.testing.assert_allclose(metres, one.points[:, :3], atol=0.002)


def test_large_scans_are_thinned_so_that_200_stay_below_60_megabytes():
    points = np.random.default_rng(0).random((120_000, 4)).astype(np.float32)
    page = render_page([Scene("a", points, scene().detections)], "title")
    assert len(page) * 200 < 60e6
    (packed,) = data_of(page)["scenes"]
    assert packed["count"] == 30_000
    assert packed["of"] == 120_000


def test_names_cannot_break_out_of_the_page():
    page = render_page([scene('</script><script>alert("x")</script>')], "<b>title</b>")
    assert "<script>alert" not in page
    assert "&lt;b&gt;title" in page
    assert data_of(page)["scenes"][0]["name"].startswith("</script>")


def test_no_scene_is_an_error():
    with pytest.raises(ValueError, match="a page needs at least one scan"):
        render_page([], "title")


def test_scan_without_points_or_boxes_has_a_page():
    nothing = Detections(np.zeros((0, 7)), np.zeros(0), np.zeros(0, dtype=np.str_))
    empty = Scene("empty", np.zeros((0, 4), dtype=np.float32), nothing, np.zeros((0, 7)))
    assert data_of(render_page([empty], "title"))["scenes"][0]["boxes"] == []


@pytest.fixture(scope="module")
def browser():
    """Headless Chromium, which draws WebGL in software."""
    if CHROMIUM is None:
        pytest.skip("no Chromium: install it to test pages in a browser")
    playwright = pytest.importorskip("playwright.sync_api")
    options = ["--no-sandbox", "--use-gl=angle", "--use-angle=swiftshader", "--enable-unsafe-swiftshader"]
    with playwright.sync_playwright() as engine:
        browser = engine.chromium.launch(executable_path=CHROMIUM, args=options)
        yield browser
        browser.close()


@pytest.fixture
def page(browser, tmp_path: Path):
    """The page of two scans, which may neither ask for anything nor complain."""
    path = tmp_path / "index.html"
    path.write_text(render_page([scene("first"), scene("second", labelled=False)], "Scans"), encoding="utf-8")
    page = browser.new_page(viewport={"width": 900, "height": 600})
    complaints: list[str] = []
    page.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("request", lambda request: None if request.url == path.as_uri() else complaints.append(request.url))
    page.goto(path.as_uri())
    page.wait_for_selector("#boxes tbody tr")
    yield page
    page.close()
    assert complaints == []


def pixels(page) -> bytes:
    page.wait_for_timeout(150)
    return page.locator("#view").screenshot()


def test_page_shows_verdicts(page):
    assert page.locator("#summary").inner_text() == "1 found, 2 false, 1 missed; 5000 points"
    rows = [row.split("\t") for row in page.locator("#boxes tbody tr").all_inner_texts()]
    assert [row[3] for row in rows] == ["found", "false", "false", "missed"]
    assert rows[0][:3] == ["Car", "0.90", "10.1 m"]


def test_slider_changes_what_is_drawn(page):
    before = pixels(page)
    page.locator("#score").fill("0.85")
    assert page.locator("#summary").inner_text() == "1 found, 0 false, 1 missed; 5000 points"
    after = pixels(page)
    assert after != before
    page.locator("#score").fill("0.95")
    assert page.locator("#summary").inner_text() == "0 found, 0 false, 2 missed; 5000 points"
    assert pixels(page) != after


def test_keys_change_scan_view_and_selection(page):
    before = pixels(page)
    page.keyboard.press("t")
    from_above = pixels(page)
    assert from_above != before
    page.keyboard.press("j")
    assert page.locator("#boxes tr.selected").count() == 1
    assert pixels(page) != from_above
    page.keyboard.press("e")
    assert "false" in page.locator("#boxes tr.selected").inner_text()
    page.keyboard.press("n")
    assert page.locator("#scan").input_value() == "1"
    assert page.locator("#summary").inner_text() == "3 boxes; 5000 points"


def test_boxes_can_be_hidden_and_rows_select(page):
    shown = pixels(page)
    page.locator("#show-boxes").uncheck()
    assert pixels(page) != shown
    page.locator("#boxes tbody tr").nth(1).click()
    assert page.locator("#boxes tbody tr").nth(1).get_attribute("class") == "selected"


def test_mouse_turns_moves_and_zooms(page):
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
    assert len(set(pictures)) == 4
