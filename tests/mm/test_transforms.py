"""Pasting of objects from a database that lacks some."""

import pickle
from pathlib import Path

import numpy as np
import pytest
from mmdet3d.registry import TRANSFORMS
from mmengine.logging import MMLogger
from mmengine.registry import init_default_scope

CLASSES = ["Pedestrian", "Cyclist", "Car"]


def database(folder: Path, **points_of_objects: list[int]) -> dict:
    """Config of a sampler, for a database with objects of so many points each, all in places of their own."""
    infos = {}
    for name, counts in points_of_objects.items():
        infos[name] = []
        for index, count in enumerate(counts):
            path = folder / f"{name}_{index}.bin"
            np.zeros((count, 4), np.float32).tofile(path)
            place = 10.0 * sum(map(len, infos.values()))
            box = np.array([place, 0, 0, 4, 2, 1.5, 0], np.float32)
            info = {"name": name, "path": path.name, "box3d_lidar": box, "num_points_in_gt": count, "difficulty": 0}
            infos[name].append(info)
    (folder / "infos.pkl").write_bytes(pickle.dumps(infos))
    return {
        "type": "lidar_rank.ObjectDatabase",
        "data_root": str(folder),
        "info_path": str(folder / "infos.pkl"),
        "rate": 1.0,
        "classes": CLASSES,
        "sample_groups": {"Car": 2, "Cyclist": 2, "Pedestrian": 2},
        "prepare": {"filter_by_difficulty": [-1], "filter_by_min_points": {"Car": 5, "Cyclist": 5, "Pedestrian": 5}},
    }


def paste(config: dict) -> list[str]:
    """Names of the objects that one scan gets."""
    init_default_scope("mmdet3d")
    sampled = TRANSFORMS.build(config).sample_all(np.zeros((0, 7), np.float32), np.zeros(0, np.int64))
    return [] if sampled is None else [CLASSES[label] for label in sampled["gt_labels_3d"]]


@pytest.fixture
def warnings_logged(monkeypatch) -> list[str]:
    logged = []
    monkeypatch.setattr(MMLogger, "warning", lambda self, message: logged.append(message))  # noqa: ARG005
    return logged


def test_classes_with_objects_are_pasted_as_the_host_does(tmp_path, warnings_logged):
    config = database(tmp_path, Car=[9, 9, 9], Cyclist=[9], Pedestrian=[9, 9, 9])
    assert (
        paste(config) == paste(config | {"type": "DataBaseSampler"}) == ["Car"] * 2 + ["Cyclist"] + ["Pedestrian"] * 2
    )
    assert warnings_logged == []


@pytest.mark.parametrize(
    "objects",
    [{"Car": [9, 9], "Pedestrian": [9]}, {"Car": [9, 9], "Cyclist": [2, 3], "Pedestrian": [9]}],
    ids=["no cyclist at all", "no cyclist with enough points"],
)
def test_class_without_objects_is_not_pasted_and_a_warning_says_so_once(objects, tmp_path, warnings_logged):
    assert paste(database(tmp_path, **objects)) == ["Car", "Car", "Pedestrian"]
    (message,) = warnings_logged
    assert "no object of Cyclist in" in message


def test_empty_database_pastes_nothing(tmp_path, warnings_logged):
    assert paste(database(tmp_path)) == []
    assert "no object of Car, Cyclist, Pedestrian in" in warnings_logged[0]


def test_group_that_is_no_class_is_refused(tmp_path):
    with pytest.raises(ValueError, match="sample_groups names Truck, which is not among the classes"):
        paste(database(tmp_path, Car=[9]) | {"sample_groups": {"Truck": 2}})
