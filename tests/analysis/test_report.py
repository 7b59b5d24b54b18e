"""A diagnosis is read back as it was written, and the table shows the numbers of each run."""

import json
import math
import re

import pytest

from lidar_rank.analysis import (
    Diagnosis,
    PairCount,
    ReversePairs,
    count_distributions,
    count_reverse_pairs,
    format_runs,
)
from tests.analysis.candidates import random_candidates


def diagnosis(seed: int, **metrics: float) -> Diagnosis:
    candidates = random_candidates(seed)
    return Diagnosis(metrics, count_reverse_pairs(*candidates), count_distributions(*candidates), 0.25)


AP = {"kitti/Car/3d/R40/moderate": 43.217, "kitti/Car/bev/R40/moderate": 69.4, "kitti/Car/3d/R40/easy": 99.0}
RUNS = {"focal": diagnosis(0, **AP), "<DR>": diagnosis(1, **AP | {"kitti/Car/3d/R40/moderate": 40.0})}


def test_a_diagnosis_is_read_back_as_it_was_written():
    run = RUNS["focal"]
    back = Diagnosis.from_json(json.loads(json.dumps(run.to_json())))
    assert (back.metrics, back.pairs, back.score_iou_correlation) == (run.metrics, run.pairs, 0.25)
    for name, counts in vars(run.distributions).items():
        assert (vars(back.distributions)[name] == counts).all()


def test_a_file_without_a_correlation_is_read():
    record = RUNS["focal"].to_json()
    del record["score_iou_correlation"]
    assert math.isnan(Diagnosis.from_json(record).score_iou_correlation)


@pytest.mark.parametrize("record", [{}, {"metrics": {}, "pairs": {}, "distributions": {}}, {"pairs": {"a": {}}}, []])
def test_another_file_is_refused(record):
    with pytest.raises(ValueError, match="lidar-rank analyze"):
        Diagnosis.from_json(record)


def test_table_has_moderate_ap_and_the_shares_of_each_run():
    pairs = ReversePairs(PairCount(1.0, 8), PairCount(3.0, 8), PairCount())
    table = format_runs({"one": Diagnosis(AP, pairs, RUNS["focal"].distributions, 0.3), **RUNS})
    header, one, *_ = table.splitlines()
    assert re.split(r"  +", header) == [
        "run",
        "Car/3d",
        "Car/bev",
        "F-B reversed %",
        "P-N reversed %",
        "P-P reversed %",
        "score-IoU correlation %",
    ]
    assert one.split() == ["one", "43.22", "69.40", "12.500", "37.500", "nan", "30.000"]
    assert len({len(line) for line in table.splitlines()}) == 1


def test_ap_of_images_is_shown_in_percent():
    lines = format_runs({"retinanet": diagnosis(0, **{"coco/bbox_mAP": 0.4551, "coco/bbox_mAP_s": 0.1})}).splitlines()
    assert lines[0].split()[:2] == ["run", "AP"]
    assert lines[1].split()[:2] == ["retinanet", "45.51"]


def test_a_missing_metric_is_shown_as_a_dash():
    assert format_runs({**RUNS, "none": diagnosis(2)}).splitlines()[-1].split()[:3] == ["none", "-", "-"]
