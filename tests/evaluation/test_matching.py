"""Decisions on each object and detection, not numbers alone: two swapped matches can leave AP as it is."""

import numpy as np
import pytest

from lidar_rank.evaluation.kitti import match_class
from lidar_rank.evaluation.matching import Decision
from lidar_rank.evaluation.overlaps import compute_overlaps
from lidar_rank.evaluation.rules import DIFFICULTIES, METRICS, MIN_OVERLAP
from tests.evaluation.cases import random_frames, tables
from tests.oracles import kitti_eval as oracle
from tests.oracles.kitti_eval import Thing

NAME_OF = {
    Decision.NOT_EVALUATED: "-",
    Decision.IGNORED: "ignored",
    Decision.TRUE_POSITIVE: "TP",
    Decision.FALSE_POSITIVE: "FP",
    Decision.FALSE_NEGATIVE: "FN",
}


def decided(frames, class_name, difficulty, metric, score_threshold):
    objects, detections = tables(frames)
    overlaps = compute_overlaps(objects, detections)
    matchers = match_class(overlaps, objects, detections, class_name, MIN_OVERLAP[class_name])
    return matchers[difficulty.name, metric].decisions(score_threshold)


@pytest.mark.parametrize("score_threshold", [-np.inf, 0.3, 0.9])
@pytest.mark.parametrize("class_name", MIN_OVERLAP)
@pytest.mark.parametrize("seed", [3, 4])
def test_decisions_equal_the_oracle(seed, class_name, score_threshold):
    frames = random_frames(seed, num_frames=80)
    first_detection = np.cumsum([0, *(len(detections) for _, detections in frames)])
    for metric in METRICS:
        for difficulty in DIFFICULTIES:
            got = decided(frames, class_name, difficulty, metric, score_threshold)
            options = (class_name, difficulty.name, metric, MIN_OVERLAP[class_name], score_threshold)
            expected = [oracle.decide(*frame, *options) for frame in frames]
            assert [NAME_OF[d] for d in got.objects] == [d for frame in expected for d in frame.objects]
            assert [NAME_OF[d] for d in got.detections] == [d for frame in expected for d in frame.detections]
            assert got.detection_of_object.tolist() == [
                j + first if j >= 0 else -1
                for frame, first in zip(expected, first_detection[:-1], strict=True)
                for j in frame.detection_of_object
            ]


def test_random_frames_show_what_they_are_for():
    frames = random_frames(3, num_frames=80)
    objects, detections = tables(frames)
    moderate = DIFFICULTIES[1]
    got = decided(frames, "Car", moderate, "bbox", -np.inf)
    assert {int(d) for d in got.objects} == {-1, 0, 1, 3}
    assert {int(d) for d in got.detections} == {-1, 0, 1, 2}
    matched = np.flatnonzero(got.object_of_detection >= 0)
    names = np.char.lower(detections.name[matched])
    assert (names != "car").any(), "a low detection of another class takes an object"
    valid = detections.bbox_px[:, 3] - detections.bbox_px[:, 1] >= moderate.min_height_px
    excused = (got.detections == Decision.IGNORED) & (got.object_of_detection < 0) & valid
    assert excused.any(), "a DontCare area excuses a detection"
    overlaps = compute_overlaps(objects, detections)
    first, second = overlaps.pair_object[:-1], overlaps.pair_object[1:]
    tied = (first == second) & (overlaps.iou[:-1, 0] == overlaps.iou[1:, 0]) & (overlaps.iou[1:, 0] > 0.7)
    assert tied.sum() > 5, "two detections overlap an object equally"


def test_links_between_objects_and_detections_go_both_ways():
    got = decided(random_frames(3, num_frames=80), "Car", DIFFICULTIES[2], "3d", -np.inf)
    matched = np.flatnonzero(got.detection_of_object >= 0)
    assert len(matched) > 10
    assert got.object_of_detection[got.detection_of_object[matched]].tolist() == matched.tolist()
    assert (got.object_of_detection >= 0).sum() == len(matched)


@pytest.mark.parametrize("frames", [[([], [])], [([Thing()], [])], [([], [Thing(score=0.5)])]])
def test_decisions_where_one_side_is_empty(frames):
    got = decided(frames, "Car", DIFFICULTIES[0], "bev", -np.inf)
    objects, detections = frames[0]
    assert got.objects.tolist() == [Decision.FALSE_NEGATIVE] * len(objects)
    assert got.detections.tolist() == [Decision.FALSE_POSITIVE] * len(detections)
