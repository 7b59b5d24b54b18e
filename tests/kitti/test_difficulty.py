"""The difficulty levels: their limits, mmdet3d's levels, and that evaluation and preparation share them."""

import importlib.util
from itertools import product
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from lidar_rank.evaluation import rules
from lidar_rank.kernels.kitti_matching import IGNORED, VALID
from lidar_rank.kitti import difficulty, infos
from lidar_rank.kitti.difficulty import DIFFICULTIES, difficulty_index, within_difficulty
from lidar_rank.kitti.labels import KittiObjects

# Every limit, and the values just below and above it.
HEIGHTS_PX = [value + step for value in (25.0, 40.0) for step in (-0.01, 0.0, 0.01)]
OCCLUSIONS = [-1.0, 0.0, 1.0, 2.0, 3.0]
TRUNCATIONS = [-1.0, 0.0, 0.15, 0.151, 0.30, 0.301, 0.50, 0.501, 1.0]


@pytest.fixture
def objects() -> KittiObjects:
    """One car for every combination of the values above."""
    height_px, occlusion, truncation = np.array(list(product(HEIGHTS_PX, OCCLUSIONS, TRUNCATIONS))).T
    count = len(height_px)
    zeros = np.zeros(count)
    return KittiObjects(
        frame_ids=("000000",),
        frame_start=np.array([0, count]),
        name=np.full(count, "Car"),
        truncation=truncation,
        occlusion=occlusion,
        alpha_rad=zeros,
        bbox_px=np.column_stack([zeros, zeros, np.full(count, 50.0), height_px]),
        size_m=np.ones((count, 3)),
        location_m=np.ones((count, 3)),
        yaw_rad=zeros,
        score=zeros,
    )


def columns(objects: KittiObjects) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    return objects.bbox_px, objects.occlusion, objects.truncation


@pytest.mark.parametrize(
    ("height_px", "occlusion", "truncation", "kept", "dropped"),
    [
        (40.01, 0, 0.15, (1, 1, 1), (1, 1, 1)),
        (40.0, 0, 0.15, (1, 1, 1), (0, 1, 1)),
        (39.99, 0, 0.0, (0, 1, 1), (0, 1, 1)),
        (25.0, 0, 0.0, (0, 1, 1), (0, 0, 0)),
        (24.99, 0, 0.0, (0, 0, 0), (0, 0, 0)),
        (50.0, 1, 0.30, (0, 1, 1), (0, 1, 1)),
        (50.0, 2, 0.0, (0, 0, 1), (0, 0, 1)),
        (50.0, 3, 0.0, (0, 0, 0), (0, 0, 0)),
        (50.0, 0, 0.151, (0, 1, 1), (0, 1, 1)),
        (50.0, 0, 0.50, (0, 0, 1), (0, 0, 1)),
        (50.0, 0, 0.501, (0, 0, 0), (0, 0, 0)),
        (50.0, -1, -1.0, (1, 1, 1), (1, 1, 1)),  # unknown, as in results
    ],
)
def test_the_rules_differ_at_exactly_the_minimum_height_alone(height_px, occlusion, truncation, kept, dropped):
    box = np.array([[0.0, 100.0, 50.0, 100.0 + height_px]])
    values = np.array([float(occlusion)]), np.array([truncation])
    for drop, expected in ((False, kept), (True, dropped)):
        assert tuple(within_difficulty(box, *values, drop_at_min_height=drop)[:, 0]) == expected
    index = dropped.index(1) if any(dropped) else -1
    assert difficulty_index(box, *values).tolist() == [index]


@pytest.mark.parametrize("drop_at_min_height", [False, True])
def test_evaluation_takes_the_same_levels(objects, drop_at_min_height):
    roles = rules.object_roles(objects, "Car", drop_at_min_height=drop_at_min_height)
    within = within_difficulty(*columns(objects), drop_at_min_height=drop_at_min_height)
    assert (roles == np.where(within, VALID, IGNORED)).all()


def test_there_is_one_rule():
    assert rules.within_difficulty is difficulty.within_difficulty
    assert infos.difficulty_index is difficulty.difficulty_index
    assert [limit.name for limit in DIFFICULTIES] == ["easy", "moderate", "hard"]


def host_module(path: str) -> ModuleType:
    """A file of mmdet3d that imports nothing else of it: importing mmdet3d takes half a minute."""
    folder = Path(importlib.util.find_spec("mmdet3d").origin).parent
    if not (folder / path).is_file():
        pytest.skip(f"this mmdet3d is installed without {path}")
    spec = importlib.util.spec_from_file_location(Path(path).stem, folder / path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.mm
@pytest.mark.filterwarnings("ignore")
def test_levels_of_the_annotation_files_are_those_of_mmdet3d(objects):
    host = host_module(".mim/tools/dataset_converters/kitti_data_utils.py")
    bbox_px, occlusion, truncation = columns(objects)
    annotations = {"dimensions": objects.size_m, "bbox": bbox_px, "occluded": occlusion, "truncated": truncation}
    expected = host.add_difficulty_to_annos({"annos": annotations})
    assert difficulty_index(*columns(objects)).tolist() == expected
    assert set(expected) == {-1, 0, 1, 2}


@pytest.mark.mm
@pytest.mark.filterwarnings("ignore")
def test_the_newer_rule_is_that_of_mmdet3ds_evaluation(objects):
    host = host_module("evaluation/functional/kitti_utils/eval.py")
    table = {
        "name": objects.name,
        "bbox": objects.bbox_px,
        "occluded": objects.occlusion,
        "truncated": objects.truncation,
    }
    roles = rules.object_roles(objects, "Car", drop_at_min_height=True)
    for level in range(3):
        _, ignored, _, _ = host.clean_data(table, {"name": [], "bbox": np.zeros((0, 4))}, 0, level)
        assert [{VALID: 0, IGNORED: 1}[role] for role in roles[level].tolist()] == ignored
