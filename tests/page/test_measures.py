"""What a better ranking could win, AP by distance, and verdicts on boxes."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from lidar_rank.evaluation import evaluate_by_distance, evaluate_kitti
from lidar_rank.kitti import join_frames
from lidar_rank.kitti.predictions import objects_without_camera
from lidar_rank.page.measures import measure, measure_every_recall
from lidar_rank.page.run import Results
from lidar_rank.page.verdicts import FALSE, FOUND, NOT_COUNTED, judge
from tests.page.cases import CAR, SCORES, TRUE, image_table, make_scans, moved, scan_results
from tests.page.cases import FOUND as BOXES

NAMES = [f"{number:06d}" for number in range(50)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_scans(tmp_path_factory.mktemp("scans"), NAMES, images=False)


@pytest.fixture(scope="module")
def results(folder: Path) -> Results:
    return scan_results(folder, NAMES)


def test_curves_are_those_of_the_evaluation(results):
    expected = evaluate_kitti(results.objects, results.detections, classes=["Car"])
    found = measure(results)["Car"]
    np.testing.assert_array_equal(found.curve.precision, expected.curves["Car"]["3d"][1].precision)
    assert found.ap_percent == expected.ap_percent()["Car"]["3d"]["R40"][1]


def test_boxes_ranked_by_their_overlap_win_what_scores_lose(folder, results):
    found = measure(results)["Car"]
    # Half of the objects are found, each after a false box of higher score.
    assert found.ap_percent == pytest.approx(25)
    assert found.best_ap_percent == pytest.approx(50)
    best_first = measure(scan_results(folder, NAMES, BOXES, np.array([0.9, 0.8, 0.4])))["Car"]
    assert best_first.ap_percent == best_first.best_ap_percent == pytest.approx(50)


def test_ap_by_distance_counts_the_objects_of_each_range(folder):
    found = measure(scan_results(folder, NAMES, np.stack([TRUE[1], moved(30, 0)]), np.array([0.5, 0.9])))["Car"]
    near, middle, far = found.by_distance
    assert [part.num_objects for part in found.by_distance] == [100, 0, 0]
    assert (near.ap_percent, middle.ap_percent, far.ap_percent) == (50, 0, 0), "the false box lies at 40 m"
    assert (near.near_m, near.far_m, far.far_m) == (0, 30, np.inf)


def test_a_box_on_the_other_side_of_a_border_counts_where_its_object_is(folder):
    """Object and box were ignored in both bands, so that each band had lost an object that was found."""
    true = np.stack([CAR, moved(20, 0)])
    found = np.stack([moved(0.4, 0), moved(19.6, 0), moved(-3, 3)])  # both cars, and nothing
    results = scan_results(folder, NAMES[:1], found, np.array([0.8, 0.7, 0.9]), true)
    border_m = np.hypot(*results.objects.location_m[:, [0, 2]].T) + np.array([0.2, -0.2])
    results = dataclasses.replace(results, bands_m=(0, *border_m))
    near, middle, far = measure(results)["Car"].by_distance
    assert [(part.num_objects, part.ap_percent) for part in (near, middle, far)] == [(1, 50), (0, 0), (1, 100)]


def test_without_a_camera_ap_by_distance_is_that_of_the_evaluation():
    rng = np.random.default_rng(0)
    angle, distance_m = np.arange(8) * np.pi / 4, rng.uniform(8, 60, (50, 8))
    place = distance_m * np.cos(angle), distance_m * np.sin(angle)
    true = np.stack([*place, *(np.full((50, 8), value) for value in (-1.7, 4.0, 1.7, 1.5, 0.3))], axis=-1)
    found = true + rng.normal(0, [0.2, 0.2, 0, 0, 0, 0, 0], true.shape)
    frames = list(zip(NAMES, true, found, strict=True))
    objects = join_frames([objects_without_camera(name, own, ["Car"] * 8) for name, own, _ in frames])
    detections = join_frames(
        [objects_without_camera(name, own, ["Car"] * 8, scores=rng.random(8)) for name, _, own in frames]
    )
    files, edges_m = tuple(Path(name) for name in NAMES), (0, 20, 40)
    for min_overlap in (0.1, 0.7):  # all are found, or some
        results = Results(files, True, False, {"Car": min_overlap}, "recall", objects, detections, edges_m)
        expected = evaluate_by_distance(objects, detections, min_overlap=min_overlap, edges_m=edges_m)
        own = measure(results)["Car"]
        ap = [own.ap_percent, *(band.ap_percent for band in own.by_distance)]
        assert ap == expected.ap_percent()["Car"]["3d"]["R40"]
        assert ap == [100] * 4 if min_overlap == 0.1 else max(ap) < 100


def test_without_difficulties_every_object_of_the_class_in_range_counts(folder):
    results = scan_results(folder, NAMES[:1], true_names=("Car", "Van"))
    tiny = dataclasses.replace(results.objects, bbox_px=np.zeros((2, 4)), truncation=np.ones(2))
    scans = dataclasses.replace(results, objects=tiny, has_difficulties=False)
    assert judge(scans).is_counted.tolist() == [True, False]
    assert judge(scans).is_shown.tolist() == [True, False]
    assert not judge(dataclasses.replace(scans, has_difficulties=True)).is_counted.any()
    outside = dataclasses.replace(tiny, occlusion=np.full(2, 4.0))
    assert judge(dataclasses.replace(scans, objects=outside)).verdict.tolist() == [NOT_COUNTED, FALSE, FALSE]


def test_each_object_is_found_once_by_the_best_box_that_overlaps_it_enough(results):
    verdicts = judge(results)
    assert verdicts.verdict[:3].tolist() == [FOUND, FALSE, FALSE]
    assert verdicts.object_of[:3].tolist() == [0, -1, -1]
    assert verdicts.overlap[1] == pytest.approx(3.1 / 4.9)
    lower = judge(dataclasses.replace(results, min_overlap={"Car": 0.6}))
    assert lower.verdict[:3].tolist() == [FALSE, FOUND, FALSE], "the box with the higher score chooses first"


def test_boxes_on_objects_that_do_not_count_are_neither_found_nor_false(folder):
    van = judge(scan_results(folder, NAMES[:1], true_names=("Van", "Pedestrian")))
    assert van.verdict.tolist() == [NOT_COUNTED, FALSE, FALSE]
    assert van.is_shown.tolist() == [True, False]
    assert not van.is_counted.any()


def test_images_are_measured_by_their_boxes():
    truth = [image_table(name, ["cell", "DontCare"], [[0, 0, 10, 10], [50, 50, 90, 90]], None) for name in NAMES]
    boxes = [[20, 20, 30, 30], [0, 0, 10, 9], [51, 51, 60, 60]]
    found = [image_table(name, ["cell"] * 3, boxes, [0.9, 0.8, 0.7]) for name in NAMES]
    files = tuple(Path(name) for name in NAMES)
    results = Results(files, False, False, {"cell": 0.5}, "recall", join_frames(truth), join_frames(found))
    measures = measure(results)["cell"]
    assert (measures.ap_percent, measures.best_ap_percent, measures.by_distance) == (50, 100, ())
    assert measure_every_recall(results, "cell") == pytest.approx(50)
    assert judge(results).verdict[:3].tolist() == [FALSE, FOUND, NOT_COUNTED]


def test_no_detections_are_no_error(folder):
    results = scan_results(folder, NAMES[:1], BOXES[:0], SCORES[:0])
    assert measure(results)["Car"].best_ap_percent == measure_every_recall(results, "Car") == 0
    assert len(judge(results).verdict) == 0
