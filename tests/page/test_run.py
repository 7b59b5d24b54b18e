"""The file of a run is read back as it was written, and a damaged one is named in one line."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from lidar_rank.kitti.labels import KittiObjects
from lidar_rank.page import Run, read_run
from tests.page.cases import make_scans, run_of, scan_results

SETTINGS = {"optim_wrapper.optimizer.lr": "0.003"}


@pytest.fixture
def run(tmp_path: Path) -> Run:
    names = ["000000", "000001"]
    results = scan_results(make_scans(tmp_path / "training", names, images=False), names)
    return run_of(replace(results, bands_m=(0.0, 20.0)), **SETTINGS)


def test_a_run_is_read_back_as_it_was_written(tmp_path, run):
    (tmp_path / "a.json").write_text(json.dumps(run.to_json(), allow_nan=False))
    back = read_run(tmp_path / "a.json")
    assert back.settings == SETTINGS
    assert back.diagnosis.pairs == run.diagnosis.pairs
    for name in ("files", "is_3d", "has_difficulties", "min_overlap", "sampling", "bands_m"):
        assert getattr(back.results, name) == getattr(run.results, name)
    for table in ("objects", "detections"):
        own, others = getattr(back.results, table), getattr(run.results, table)
        assert own.frame_ids == others.frame_ids
        for column in ("frame_start", *KittiObjects.columns()):
            np.testing.assert_array_equal(getattr(own, column), getattr(others, column), err_msg=column)


def test_a_file_of_an_earlier_version_has_no_results(tmp_path, run):
    (tmp_path / "a.json").write_text(json.dumps(run.diagnosis.to_json()))
    back = read_run(tmp_path / "a.json")
    assert (back.results, back.settings) == (None, {})


def test_a_file_of_an_earlier_version_has_the_bands_of_that_version(tmp_path, run):
    record = run.to_json()
    del record["results"]["bands_m"]
    (tmp_path / "a.json").write_text(json.dumps(record))
    assert read_run(tmp_path / "a.json").results.bands_m == (0, 30, 50)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda text: text[:-20], r"a\.json: Expecting"),
        (lambda text: text.encode("utf-16")[:-1], r"a\.json: .*(truncated|decode)"),
        (lambda text: b"\xff" + text.encode(), r"a\.json: .*codec can't decode"),
        (lambda text: text.replace('"total": ', '"total": "x'), r"a\.json: "),
        (lambda text: text.replace('"gradient_norm": [', '"gradient_norm": [1, '), r"a\.json: .* counts in \d+ bins"),
        (
            lambda text: text.replace('"location_m": [[', '"location_m": [[[7], '),
            r"a\.json: not what 'lidar-rank analyze' wrote",
        ),
        (
            lambda text: text.replace("[0.0, 20.0]", "[20.0, 0.0]"),
            r"a\.json: .*the edges of bands must be metres that rise",
        ),
        (lambda text: text.replace('"000001"', '"000001", "000002"', 1), r"a\.json: .*frame_start must rise"),
        (lambda text: text.replace("{", "[", 1), r"a\.json: Expecting"),
        (lambda text: "[" * 100_000, r"a\.json: maximum recursion depth"),  # noqa: ARG005
    ],
)
def test_a_damaged_file_is_named_in_one_line(tmp_path, run, damage, message):
    path = tmp_path / "a.json"
    content = damage(json.dumps(run.to_json()))
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(ValueError, match=message) as error:
        read_run(path)
    assert "\n" not in str(error.value)
