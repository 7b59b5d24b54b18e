"""AP by distance: against brute force, and against the KITTI evaluator where a band and a difficulty coincide."""

import math
from dataclasses import replace

import numpy as np
import pytest

from lidar_rank.evaluation import evaluate_by_distance, evaluate_kitti, format_table
from tests.evaluation.cases import random_frames, tables
from tests.oracles import kitti_eval as oracle
from tests.oracles.kitti_eval import Thing

CLASSES = ["Car", "Pedestrian", "Cyclist", "Truck"]
OVERLAP = {"Car": 0.7, "Pedestrian": 0.5, "Cyclist": 0.5, "Truck": 0.5}
EDGES_M = (0, 23, 26)
BANDS_M = {"all": (0, math.inf), "0-23m": (0, 23), "23-26m": (23, 26), "26m+": (26, math.inf)}


def without_camera(frames):
    """Frames of scans: no image boxes, no levels, nothing without a place."""
    blank = {"bbox": (0.0,) * 4, "occlusion": 0.0, "truncation": 0.0}
    return [
        tuple([replace(thing, **blank) for thing in side if min(thing.size) > 0] for side in frame) for frame in frames
    ]


def in_band(thing, band):
    return band[0] <= math.hypot(thing.location[0], thing.location[2]) < band[1]


def brute_force(frames, class_name, metric, band):
    """Precision at recall 0, 1/40, ..., 1: greedy matching, score by score, pair by pair."""
    own = [
        tuple([thing for thing in side if thing.name.lower() == class_name.lower()] for side in frame)
        for frame in frames
    ]
    num_objects = sum(in_band(thing, band) for objects, _ in own for thing in objects)

    def match(objects, detections, key):
        """Each object in turn takes the free detection that is best by ``key``."""
        pairs, free = [], list(detections)
        for thing in objects:
            over = [d for d in free if oracle.overlap(d, thing, metric) > OVERLAP[class_name]]
            if over:
                best = max(over, key=lambda d: key(d, thing))
                pairs.append((thing, best))
                free = [d for d in free if d is not best]
        return pairs, free

    scores = []
    for objects, detections in own:
        pairs, _ = match(objects, detections, lambda d, _: d.score)
        scores += [d.score for thing, d in pairs if in_band(thing, band)]
    scores.sort(reverse=True)
    precision = [0.0] * 41
    for k in range(41):
        needed = max(math.ceil(k * num_objects / 40), 1)
        if needed <= len(scores):
            true = false = 0
            for objects, detections in own:
                kept = [d for d in detections if d.score >= scores[needed - 1]]
                pairs, free = match(objects, kept, lambda d, thing: oracle.overlap(d, thing, metric))
                true += sum(in_band(thing, band) for thing, _ in pairs)
                false += sum(in_band(d, band) for d in free)
            precision[k] = true / (true + false) if true + false else 0.0
    return [max(precision[k:]) for k in range(41)]


@pytest.mark.parametrize("seed", range(3))
def test_equals_brute_force(seed):
    frames = without_camera(random_frames(seed, 20))
    result = evaluate_by_distance(*tables(frames), classes=CLASSES, min_overlap=OVERLAP, edges_m=EDGES_M)
    assert result.levels == tuple(BANDS_M)
    for class_name in CLASSES:
        for metric in ("bev", "3d"):
            for curve, band in zip(result.curves[class_name][metric], BANDS_M.values(), strict=True):
                np.testing.assert_allclose(curve.precision, brute_force(frames, class_name, metric, band), atol=1e-12)


@pytest.mark.parametrize("sampling", ["official", "recall"])
def test_the_whole_range_is_the_easy_level_if_everything_is_easy(sampling):
    """High in the image, visible, no neighbour class: KITTI's evaluator then counts the same things."""
    names = {"Van": "Truck", "Person_sitting": "Truck"}
    frames = [
        tuple([replace(t, bbox=(0.0, 0.0, 90.0, 90.0), name=names.get(t.name, t.name)) for t in side] for side in frame)
        for frame in without_camera(random_frames(5, 100))
    ]
    options = {"classes": CLASSES, "min_overlap": OVERLAP, "sampling": sampling, "extra_overlaps": (0.3,)}
    official, ours = evaluate_kitti(*tables(frames), **options), evaluate_by_distance(*tables(frames), **options)
    for class_name in CLASSES:
        for metric in ("bev", "3d", "bev@0.3", "3d@0.3"):
            easy, whole = official.curves[class_name][metric][0], ours.curves[class_name][metric][0]
            np.testing.assert_array_equal(whole.precision, easy.precision)
            np.testing.assert_array_equal(whole.counts.false_negatives, easy.counts.false_negatives)


def test_a_band_is_the_easy_level_if_all_beyond_it_is_too_low():
    """Things are 5 m or more from the border; beyond it KITTI's evaluator ignores what has no height in the image."""
    rng = np.random.default_rng(0)

    def moved(thing, low):
        return replace(thing, bbox=(0.0, 0.0, 90.0, 0.0 if low else 90.0), name="Car")

    frames = []
    for objects, detections in without_camera(random_frames(6, 100)):
        far = 20.0 * (rng.random() < 0.5)
        away = lambda t, far=far: replace(t, location=(*t.location[:2], t.location[2] + far))  # noqa: E731
        frames.append(tuple([moved(away(t), low=far > 0) for t in side] for side in (objects, detections)))
    options = {"classes": ["Car"], "min_overlap": OVERLAP, "sampling": "recall"}
    official = evaluate_kitti(*tables(frames), **options)
    ours = evaluate_by_distance(*tables(frames), edges_m=(0, 35), **options)
    for metric in ("bev", "3d"):
        np.testing.assert_array_equal(
            ours.curves["Car"][metric][1].precision, official.curves["Car"][metric][0].precision
        )


def test_a_pair_at_a_border_counts_once_and_where_the_object_is():
    thing = Thing(location=(0.0, 1.6, 29.9))
    found = replace(thing, location=(0.0, 1.6, 30.1), score=0.9)
    false = replace(thing, location=(0.0, 1.6, 45.0), score=0.95)
    result = evaluate_by_distance(*tables([([thing], [found, false])]), min_overlap=0.5)
    whole, near, middle, far = result.curves["Car"]["3d"]
    assert [curve.num_objects for curve in (whole, near, middle, far)] == [1, 1, 0, 0]
    assert [curve.precision[40] for curve in (whole, near, middle, far)] == [0.5, 1.0, 0.0, 0.0]


def test_objects_beyond_the_range_of_a_detector_do_not_count():
    near, far = Thing(location=(0.0, 1.6, 10.0)), Thing(location=(0.0, 1.6, 20.0), occlusion=4.0)
    frames = [([near, far], [replace(near, score=0.9), replace(far, score=0.8)])]
    result = evaluate_by_distance(*tables(frames))
    assert result.ap_percent()["Car"]["3d"]["R40"] == pytest.approx([100, 100, 0, 0])


def test_classes_are_those_of_the_labels_and_stand_for_themselves():
    van = Thing(name="Van")
    car = replace(van, name="Car", score=0.9)
    result = evaluate_by_distance(*tables([([van, Thing(name="Car", location=(5.0, 1.6, 9.0))], [car])]))
    assert list(result.curves) == ["Car", "Van"]
    assert result.curves["Car"]["3d"][0].counts.false_positives.tolist() == []
    assert result.min_overlap == {"Car": 0.7, "Van": 0.5}


def test_the_table_names_bands_and_those_without_objects():
    thing = Thing(location=(0.0, 1.6, 10.0))
    table = format_table(evaluate_by_distance(*tables([([thing], [replace(thing, score=0.5)])]), edges_m=(0, 30)))
    assert table.splitlines() == [
        "AP %                                     all               0-30m                30m+",
        "1 frames                       R11       R40       R11       R40       R11       R40",
        "Car bev @0.7                100.00    100.00    100.00    100.00         -         -",
        "Car 3d @0.7                 100.00    100.00    100.00    100.00         -         -",
        "-: there is no object of the class, so that there is no AP",
    ]


@pytest.mark.parametrize("edges_m", [(), (-1, 30), (0, 30, 30), (50, 30), (0, math.nan), (0, math.inf)])
def test_edges_that_do_not_rise_are_refused(edges_m):
    with pytest.raises(ValueError, match="the edges of bands must be metres that rise from 0 or more"):
        evaluate_by_distance(*tables([([Thing()], [])]), edges_m=edges_m)
