"""The whole evaluation: against the official curves, against the oracle, and rule by rule."""

import json
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

from lidar_rank.evaluation import KittiResult, compute_overlaps, evaluate_kitti, format_table
from lidar_rank.evaluation.rules import DIFFICULTIES, METRICS, MIN_OVERLAP
from lidar_rank.kitti.labels import read_frame_ids, read_kitti_labels, read_kitti_results
from tests.evaluation.cases import random_frames, tables, to_table
from tests.oracles import kitti_eval as oracle
from tests.oracles.kitti_eval import Thing

OFFICIAL_FILES = {"bbox": "detection", "bev": "detection_ground", "3d": "detection_3d"}


def evaluate(frames, **options) -> KittiResult:
    return evaluate_kitti(*tables(frames), **options)


def counts_of(frames, metric="bbox", difficulty=0, class_name="Car", **options):
    """TP, FP and FN at the lowest sampled score, and the number of objects to find."""
    curve = evaluate(frames, classes=[class_name], **options).curves[class_name][metric][difficulty]
    counts = curve.counts
    return (
        *(int(c[-1]) for c in (counts.true_positives, counts.false_positives, counts.false_negatives)),
        curve.num_objects,
    )


def shifted(thing, pixels):
    left, top, right, bottom = thing.bbox
    return replace(thing, bbox=(left + pixels, top, right + pixels, bottom))


def apart(count):
    """Cars that nothing else of the list overlaps."""
    return [Thing(bbox=(200.0 * i, 0.0, 200.0 * i + 100, 50.0), location=(10.0 * i, 1.6, 20.0)) for i in range(count)]


def detected(things, scores):
    return [replace(thing, score=score) for thing, score in zip(things, scores, strict=True)]


@pytest.fixture(scope="module")
def official_val(kitti_root, shared):
    frame_ids = read_frame_ids(kitti_root / "ImageSets_official" / "val.txt")
    ground_truth = read_kitti_labels(kitti_root / "training" / "label_2", frame_ids)
    return ground_truth, read_kitti_results(shared / "kitti_results" / "frustum_pointnet" / "data", frame_ids)


@pytest.fixture(scope="module")
def official_val_result(official_val):
    return evaluate_kitti(*official_val)


@pytest.mark.real
@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("class_name", MIN_OVERLAP)
def test_equals_the_official_curves_at_every_printed_digit(official_val_result, shared, class_name, metric):
    name = f"stats_{class_name.lower()}_{OFFICIAL_FILES[metric]}.txt"
    official = (shared / "kitti_results" / "frustum_pointnet" / name).read_text().splitlines()
    curves = official_val_result.curves[class_name][metric]
    printed = [" ".join(f"{value:.6f}" for value in curve.precision) for curve in curves]
    assert printed == [line.strip() for line in official]


@pytest.mark.real
def test_detections_without_observation_angle_have_no_aos(official_val, official_val_result):
    assert (official_val[1].alpha_rad == -10).all()
    assert set(official_val_result.ap_percent()["Car"]) == {"bbox", "bev", "3d"}


@pytest.mark.real
def test_ground_truth_as_prediction_gives_100(official_val):
    ground_truth, _ = official_val
    known = np.flatnonzero(ground_truth.name != "DontCare")
    frame = np.repeat(np.arange(len(ground_truth.frame_ids)), np.diff(ground_truth.frame_start))[known]
    prediction = replace(
        ground_truth,
        frame_start=np.searchsorted(frame, np.arange(len(ground_truth.frame_ids) + 1)),
        **{column: getattr(ground_truth, column)[known] for column in ground_truth.columns()},
    )
    prediction = replace(prediction, score=np.random.default_rng(0).random(len(prediction)))
    ap = evaluate_kitti(ground_truth, prediction).ap_percent()
    for class_name in MIN_OVERLAP:
        for metric in (*METRICS, "aos"):
            assert ap[class_name][metric] == {"R11": [100.0] * 3, "R40": [100.0] * 3}


@pytest.mark.real
def test_objects_of_exactly_the_minimum_height_change_little(official_val, official_val_result):
    ap, newer = official_val_result.ap_percent(), evaluate_kitti(*official_val, drop_at_min_height=True).ap_percent()
    differences = [
        np.abs(np.subtract(ap[class_name][metric][recall], newer[class_name][metric][recall])).max()
        for class_name in ap
        for metric in METRICS
        for recall in ("R11", "R40")
    ]
    assert 0 < max(differences) < 0.03


@pytest.fixture(scope="module", params=[0, 1, 2])
def tie_heavy(request):
    frames = random_frames(request.param, num_frames=60)
    objects, detections = tables(frames)
    assert {0} & set(np.diff(objects.frame_start)), "some frame has no objects"
    assert {0} & set(np.diff(detections.frame_start)), "some frame has no detections"
    assert len(np.unique(detections.score)) * 20 < len(detections), "many scores are equal"
    assert detections.score.max() > 1
    heights = objects.bbox_px[:, 3] - objects.bbox_px[:, 1]
    assert (heights == 25).any()
    assert (heights == 40).any()
    return frames


@pytest.mark.parametrize(
    ("min_overlap", "drop_at_min_height"),
    [(MIN_OVERLAP, False), (MIN_OVERLAP, True), (dict.fromkeys(MIN_OVERLAP, 0.25), False)],
    ids=["official", "newer", "loose"],
)
def test_numbers_equal_the_oracle(tie_heavy, min_overlap, drop_at_min_height):
    result = evaluate(tie_heavy, drop_at_min_height=drop_at_min_height, min_overlap=min_overlap)
    for class_name, by_metric in result.curves.items():
        for metric, curves in by_metric.items():
            for difficulty, curve in zip(DIFFICULTIES, curves, strict=True):
                thresholds, counts, precision, similarity = oracle.curve(
                    tie_heavy, class_name, difficulty.name, metric, min_overlap[class_name], drop_at_min_height
                )
                got = curve.counts
                assert got.score_threshold.tolist() == thresholds
                triples = zip(got.true_positives, got.false_positives, got.false_negatives, strict=True)
                assert list(triples) == counts
                np.testing.assert_allclose(curve.precision, precision, rtol=0, atol=1e-12)
                np.testing.assert_allclose(curve.orientation_similarity, similarity, rtol=0, atol=1e-12)


def test_average_precision_equals_the_oracle(tie_heavy):
    objects, detections = tables(tie_heavy)
    detections = replace(detections, alpha_rad=np.where(detections.alpha_rad == -10, 0, detections.alpha_rad))
    ap = evaluate_kitti(objects, detections).ap_percent()
    for metric in METRICS:
        samples = [oracle.curve(tie_heavy, "Car", d.name, metric, 0.7)[2] for d in DIFFICULTIES]
        r11, r40 = zip(*map(oracle.average_precision, samples), strict=True)
        assert ap["Car"][metric] == {"R11": pytest.approx(r11), "R40": pytest.approx(r40)}
    assert "aos" in ap["Car"]


def test_result_is_plain_json_of_the_documented_shape():
    cars = apart(3)
    ap = evaluate([(cars, detected(cars, [0.9, 0.8, 0.7]))], classes=["Car", "Cyclist"]).ap_percent()
    assert json.loads(json.dumps(ap)) == ap
    assert list(ap) == ["Car", "Cyclist"]
    assert list(ap["Car"]) == ["bbox", "bev", "3d", "aos"]
    assert ap["Car"]["bbox"]["R11"] == [pytest.approx(100 / 11)] * 3
    assert ap["Cyclist"]["bbox"] == {"R11": [0.0] * 3, "R40": [0.0] * 3}


def test_official_sampling_needs_41_objects_to_reach_100_and_recall_sampling_does_not():
    for count, official in ((5, 10.0), (40, 97.5), (41, 100.0), (77, 100.0)):
        cars = apart(count)
        frames = [(cars, detected(cars, np.linspace(0.9, 0.1, count)))]
        r40 = [
            evaluate(frames, sampling=sampling).ap_percent()["Car"]["3d"]["R40"][0]
            for sampling in ("official", "recall")
        ]
        assert r40 == [pytest.approx(official), 100.0]


def test_recall_sampling_reads_precision_at_the_recall():
    cars = apart(4)
    false = replace(cars[0], bbox=(0.0, 100.0, 100.0, 150.0), score=0.8)
    frames = [(cars, [*detected(cars[:3], [0.9, 0.7, 0.5]), false])]
    precision = evaluate(frames, sampling="recall").curves["Car"]["bbox"][0].precision
    # Recall 1/4 at precision 1/1, 2/4 at 2/3 (below 3/4 later on), 3/4 at 3/4, and no further.
    np.testing.assert_allclose(precision, [1.0] * 11 + [0.75] * 20 + [0.0] * 10)


@pytest.mark.parametrize(("class_name", "neighbour"), [("Car", "Van"), ("Pedestrian", "Person_sitting")])
def test_detection_of_a_neighbour_class_object_is_neither_right_nor_wrong(class_name, neighbour):
    thing, other = (replace(car, name=class_name) for car in apart(2))
    frames = [([thing, replace(other, name=neighbour)], detected([thing, other], [0.5, 0.6]))]
    assert counts_of(frames, class_name=class_name) == (1, 0, 0, 1)
    assert counts_of([([thing, replace(other, name="Truck")], frames[0][1])], class_name=class_name) == (1, 1, 0, 1)


def test_class_names_are_case_insensitive():
    cars = apart(2)
    objects = [replace(cars[0], name="CAR"), replace(cars[1], name="VAN")]
    detections = [replace(detection, name="cAr") for detection in detected(cars, [0.9, 0.9])]
    assert counts_of([(objects, detections)], class_name="car") == (1, 0, 0, 1)


def test_dontcare_excuses_a_detection_that_lies_in_it_for_the_most_part():
    car, unlabelled = apart(2)
    # 80 % of the detection lies in the area, which covers ten times as much.
    area = replace(shifted(unlabelled, -20), name="dontCARE")
    area = replace(area, bbox=(area.bbox[0] - 900, *area.bbox[1:]), location=(-1000.0,) * 3, size=(-1.0,) * 3)
    car_detected, other_detected = detected([car, unlabelled], [0.5, 0.9])
    frames = [([car, area], [car_detected, other_detected])]
    assert counts_of(frames) == (1, 0, 0, 1)
    assert counts_of(frames, metric="bev") == (1, 1, 0, 1), "areas are known in the image alone"
    assert counts_of(frames, min_overlap={"Car": 0.85}) == (1, 1, 0, 1)


def test_dontcare_does_not_take_a_true_positive_away():
    (car,) = apart(1)
    assert counts_of([([replace(car, name="DontCare"), car], detected([car], [0.5]))]) == (1, 0, 0, 1)


@pytest.mark.parametrize(
    ("change", "valid"),
    [
        ({}, (1, 1, 1)),
        ({"occlusion": 1.0}, (0, 1, 1)),
        ({"occlusion": 2.0}, (0, 0, 1)),
        ({"occlusion": 3.0}, (0, 0, 0)),
        ({"truncation": 0.15}, (1, 1, 1)),
        ({"truncation": 0.16}, (0, 1, 1)),
        ({"truncation": 0.31}, (0, 0, 1)),
        ({"truncation": 0.51}, (0, 0, 0)),
        ({"bbox": (0.0, 0.0, 100.0, 40.0)}, (1, 1, 1)),
        ({"bbox": (0.0, 0.0, 100.0, 39.9)}, (0, 1, 1)),
        ({"bbox": (0.0, 0.0, 100.0, 24.9)}, (0, 0, 0)),
    ],
)
def test_an_object_counts_from_its_difficulty_on(change, valid):
    curves = evaluate([([replace(apart(1)[0], **change)], [])], classes=["Car"]).curves["Car"]["3d"]
    assert tuple(curve.num_objects for curve in curves) == valid


def test_newer_rule_ignores_objects_of_exactly_the_minimum_height():
    for height, valid in ((40.0, (0, 1, 1)), (25.0, (0, 0, 0))):
        frames = [([replace(apart(1)[0], bbox=(0.0, 0.0, 100.0, height))], [])]
        curves = evaluate(frames, classes=["Car"], drop_at_min_height=True).curves["Car"]["bbox"]
        assert tuple(curve.num_objects for curve in curves) == valid


def test_low_detections_are_no_false_positives_and_excuse_the_object_they_hit():
    low, car = apart(2)
    low = replace(low, bbox=(0.0, 0.0, 100.0, 39.0))
    tall = replace(low, bbox=(0.0, 0.0, 100.0, 50.0))
    assert counts_of([([car], detected([low, car], [0.9, 0.5]))]) == (1, 0, 0, 1)
    # The low detection overlaps by 0.78, whatever its class: the object is neither found nor missed.
    frames = [([tall, car], [*detected([replace(low, name="Cyclist"), car], [0.9, 0.5])])]
    assert counts_of(frames) == (1, 0, 0, 2)


def test_a_detection_with_top_below_bottom_is_as_tall_as_the_other_way_round():
    car, other = apart(2)
    left, top, right, bottom = other.bbox
    flipped = replace(other, bbox=(left, bottom, right, top))
    assert counts_of([([car], detected([car, flipped], [0.5, 0.9]))]) == (1, 1, 0, 1)


def test_low_detection_gives_way_to_a_valid_one():
    car, other = Thing(bbox=(0.0, 0.0, 100.0, 45.0)), Thing(bbox=(200.0, 0.0, 300.0, 45.0))
    low = replace(car, bbox=(0.0, 0.0, 100.0, 39.0), score=0.5)  # overlaps by 0.87
    tall = replace(car, bbox=(0.0, 0.0, 100.0, 57.0), score=0.6)  # overlaps by 0.79
    for order in ([low, tall], [tall, low]):
        assert counts_of([([car, other], [*order, replace(other, score=0.3)])]) == (2, 0, 0, 2)


def test_best_score_gives_the_threshold_and_best_overlap_the_match():
    (car,) = apart(1)
    close, far = replace(car, score=0.4), replace(shifted(car, 10), score=0.8)
    turned = replace(far, alpha=np.pi)
    result = evaluate([([car], [close, turned])], classes=["Car"])
    curve = result.curves["Car"]["bbox"][0]
    # At the threshold 0.8 only the shifted one is there; it is turned by 180 degrees, so its similarity is 0.
    assert curve.counts.score_threshold.tolist() == [0.8]
    assert (curve.counts.true_positives[0], curve.counts.false_positives[0]) == (1, 0)
    assert curve.counts.similarity[0] == 0
    # With equal scores both pass the threshold, and the match is the better overlap, which is not turned.
    tied = evaluate([([car], [replace(turned, score=0.4), close])], classes=["Car"]).curves["Car"]["bbox"][0].counts
    assert (tied.true_positives[0], tied.false_positives[0], tied.similarity[0]) == (1, 1, 1)


def test_of_equal_overlaps_the_first_detection_wins():
    (car,) = apart(1)
    same, opposite = replace(car, score=0.5), replace(car, score=0.5, alpha=np.pi)
    for detections, similarity in (([same, opposite], 1.0), ([opposite, same], 0.0)):
        counts = evaluate([([car], detections)], classes=["Car"]).curves["Car"]["bbox"][0].counts
        assert counts.similarity.tolist() == [similarity]


def test_overlap_must_exceed_the_threshold():
    car = Thing(bbox=(0.0, 0.0, 100.0, 50.0))
    half = replace(car, bbox=(0.0, 0.0, 50.0, 50.0), score=0.5)
    right = [
        evaluate([([car], [half])], min_overlap={"Car": m}, classes=["Car"]).curves["Car"]["bbox"][0].precision[0]
        for m in (0.5, 0.49)
    ]
    assert right == [0.0, 1.0]


def test_scores_may_be_above_1_or_negative():
    cars = apart(2)
    assert counts_of([(cars, detected(cars, [40.0, -3.0]))]) == (2, 0, 0, 2)


def test_frames_without_objects_or_detections_count():
    car, other = apart(2)
    frames = [([], []), ([car], detected([car], [0.5])), ([], detected([other], [0.9])), ([other], [])]
    assert counts_of(frames) == (1, 1, 1, 2)


@pytest.mark.parametrize("frames", [[([], [])], [([], detected(apart(1), [0.5]))], [(apart(1), [])]])
def test_nothing_found_or_nothing_to_find_gives_0(frames):
    assert evaluate(frames).ap_percent()["Car"]["3d"] == {"R11": [0.0] * 3, "R40": [0.0] * 3}


def test_extra_thresholds_equal_evaluations_of_their_own_and_overlap_once(tie_heavy, monkeypatch):
    calls = []
    monkeypatch.setattr(
        "lidar_rank.evaluation.kitti.compute_overlaps", lambda *tables: calls.append(1) or compute_overlaps(*tables)
    )
    together = evaluate(tie_heavy, extra_overlaps=(0.5, 0.25)).ap_percent()
    assert len(calls) == 1
    apart = {
        suffix: evaluate(tie_heavy, min_overlap=thresholds).ap_percent()
        for suffix, thresholds in (
            ("", MIN_OVERLAP),
            ("@0.5", dict.fromkeys(MIN_OVERLAP, 0.5)),
            ("@0.25", dict.fromkeys(MIN_OVERLAP, 0.25)),
        )
    }
    for class_name in MIN_OVERLAP:
        assert together[class_name] == {
            metric + suffix: values for suffix, ap in apart.items() for metric, values in ap[class_name].items()
        }


def test_table_shows_each_threshold_once():
    cars = apart(2)
    result = evaluate([(cars, detected(cars, [0.5, 0.6]))], classes=["Car", "Cyclist"], extra_overlaps=(0.5,))
    lines = format_table(result).splitlines()
    assert [line.split("  ")[0] for line in lines if " bev " in line] == [
        "Car bev @0.7",
        "Car bev @0.5",
        "Cyclist bev @0.5",
    ]


def test_class_whose_objects_are_all_ignored_gives_0():
    vans = [replace(car, name="Van") for car in apart(2)]
    hard = [replace(car, occlusion=3.0) for car in apart(2)]
    for objects in (vans, hard):
        result = evaluate([(objects, detected(apart(2), [0.9, 0.8]))])
        assert [curve.num_objects for curve in result.curves["Car"]["bev"]] == [0, 0, 0]
        assert result.ap_percent()["Car"]["bev"]["R40"] == [0.0] * 3


def test_a_threshold_that_leaves_nothing_right_or_wrong_has_precision_0():
    # With scores first, the van takes the first detection and leaves the second to the car. With overlaps first, the
    # van takes the second, which the car needs; the first is excused by the area.
    car, van = Thing(bbox=(0.0, 0.0, 100.0, 100.0)), Thing(name="Van", bbox=(20.0, 0.0, 120.0, 100.0))
    first, second = (replace(car, bbox=(x, 0.0, x + 100, 100.0)) for x in (32.0, 12.0))
    area = replace(car, name="DontCare", bbox=first.bbox)
    frames = [([van, car, area], detected([first, second], [0.9, 0.8]))]
    curve = evaluate(frames, classes=["Car"]).curves["Car"]["bbox"][0]
    counts = curve.counts
    assert (counts.score_threshold.tolist(), counts.true_positives[0], counts.false_positives[0]) == ([0.8], 0, 0)
    assert curve.precision.tolist() == [0.0] * 41


def test_one_detection_without_observation_angle_switches_aos_off():
    cars = apart(2)
    detections = detected(cars, [0.9, 0.8])
    assert "aos" in evaluate([(cars, detections)]).ap_percent()["Car"]
    detections[1] = replace(detections[1], alpha=-10.0, name="Cyclist")
    assert "aos" not in evaluate([(cars, detections)]).ap_percent()["Car"]


def test_table_names_frames_classes_thresholds_and_sets_too_small():
    cars = apart(5)
    result = evaluate([(cars, detected(cars, [0.5] * 5))], classes=["Car"], min_overlap={"Car": 0.75})
    table = format_table(result)
    assert "1 frames" in table
    assert "Car 3d @0.75" in table
    assert "Car easy 5" in table
    assert len({len(line) for line in table.splitlines()[:-1]}) == 1, "columns are aligned"
    assert "fewer than" not in format_table(replace(result, sampling="recall"))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"classes": ["Truck"]}, "no IoU threshold for class 'Truck'"),
        ({"min_overlap": {"Car": 1.0}, "classes": ["Car"]}, "min_overlap of Car must be within"),
        ({"extra_overlaps": (0.5, -0.1)}, "extra_overlaps must be within"),
        ({"sampling": "coco"}, "sampling must be one of"),
    ],
)
def test_bad_options_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        evaluate([(apart(1), [])], **options)


def test_other_classes_can_be_evaluated_with_a_threshold():
    truck = replace(apart(1)[0], name="Truck")
    assert counts_of([([truck], detected([truck], [0.5]))], class_name="Truck", min_overlap={"truck": 0.5})[0] == 1


def test_detections_without_score_and_other_frames_are_errors():
    cars = apart(1)
    with pytest.raises(ValueError, match="finite score"):
        evaluate([(cars, cars)])
    with pytest.raises(ValueError, match="there are no frames"):
        evaluate_kitti(to_table([]), to_table([]))
    with pytest.raises(ValueError, match="got 2 and 1 frames"):
        evaluate_kitti(to_table([cars, cars]), to_table([[]]))
    renamed = replace(to_table([[]]), frame_ids=("000099",))
    with pytest.raises(ValueError, match="first '000000' against '000099'"):
        evaluate_kitti(to_table([cars]), renamed)


def test_evaluation_imports_neither_torch_nor_open3d_nor_matplotlib():
    code = "import sys, lidar_rank.evaluation; print({'torch', 'open3d', 'matplotlib'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
