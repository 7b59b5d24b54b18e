"""Overlaps of every pair against Shapely."""

import numpy as np
import pytest

from lidar_rank.evaluation.overlaps import compute_overlaps
from lidar_rank.evaluation.rules import METRICS
from tests.evaluation.cases import random_frames, tables
from tests.oracles.kitti_eval import Thing, overlap


@pytest.fixture(scope="module")
def frames():
    return random_frames(7, num_frames=60)


def test_every_pair_of_a_frame_that_overlaps_is_there_once_in_file_order(frames):
    overlaps = compute_overlaps(*tables(frames))
    got = list(zip(overlaps.pair_object.tolist(), overlaps.pair_detection.tolist(), strict=True))
    expected, first_object, first_detection = [], 0, 0
    for objects, detections in frames:
        expected += [
            (first_object + i, first_detection + j)
            for i, thing in enumerate(objects)
            for j, detection in enumerate(detections)
            if thing.name != "DontCare" and any(overlap(detection, thing, metric) > 0 for metric in METRICS)
        ]
        first_object, first_detection = first_object + len(objects), first_detection + len(detections)
    assert got == expected
    assert len(got) > 200


@pytest.mark.parametrize(("column", "metric"), list(enumerate(METRICS)))
def test_values_equal_shapely(frames, column, metric):
    overlaps = compute_overlaps(*tables(frames))
    objects, detections = ([thing for frame in side for thing in frame] for side in zip(*frames, strict=True))
    pairs = zip(overlaps.pair_object, overlaps.pair_detection, strict=True)
    expected = np.array([overlap(detections[j], objects[i], metric) for i, j in pairs])
    np.testing.assert_allclose(overlaps.iou[:, column], expected, rtol=0, atol=1e-12)
    assert (overlaps.iou[:, column] == 1).any()
    frame_of = np.repeat(np.arange(len(frames)), [len(detections) for _, detections in frames])
    covered = [
        max((overlap(d, o, metric, True) for o in frames[frame][0] if o.name == "DontCare"), default=0.0)
        for d, frame in zip(detections, frame_of, strict=True)
    ]
    np.testing.assert_allclose(overlaps.in_dontcare[:, column], covered, rtol=0, atol=1e-12)


def test_boxes_one_above_the_other_overlap_from_above_alone():
    # The camera's y points down and is that of the bottom: 0.1 is above 1.6 by just the height of the lower box.
    lower, upper = Thing(location=(0.0, 1.6, 20.0)), Thing(location=(0.0, 0.1, 20.0), score=0.5)
    overlaps = compute_overlaps(*tables([([lower], [upper])]))
    assert overlaps.iou[0].tolist() == [1.0, 1.0, pytest.approx(0, abs=1e-12)]
    half = Thing(location=(0.0, 0.85, 20.0), score=0.5)
    assert compute_overlaps(*tables([([lower], [half])])).iou[0, 2] == pytest.approx(1 / 3)


def test_rotation_is_about_the_downward_axis():
    # At yaw +90 degrees the length points to -z, at +45 degrees to +x -z.
    car = Thing(size=(1.5, 1.0, 10.0), yaw=np.pi / 4)
    along, across = (Thing(size=(1.5, 1.0, 1.0), location=(3.0, 1.6, 20.0 + z), score=0.5) for z in (-3.0, 3.0))
    overlaps = compute_overlaps(*tables([([car], [along, across])]))
    assert overlaps.iou[overlaps.pair_detection == 0, 1] > 0.07
    assert not (overlaps.iou[overlaps.pair_detection == 1, 1] > 0).any()


def test_detections_of_unknown_size_or_without_area_overlap_nothing():
    car = Thing()
    unknown = Thing(bbox=(500.0, 0.0, 600.0, 50.0), size=(-1.0,) * 3, location=(-1000.0,) * 3, score=0.5)
    flat = Thing(bbox=(100.0, 100.0, 200.0, 100.0), size=(0.0, 0.0, 0.0), score=0.5)
    overlaps = compute_overlaps(*tables([([car], [unknown, flat])]))
    assert len(overlaps.pair_object) == 0
    assert np.isfinite(overlaps.in_dontcare).all()
