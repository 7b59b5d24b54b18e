"""Small runs: scans and images in a folder, with boxes of detectors."""

import dataclasses
import io
from functools import cache
from pathlib import Path

import numpy as np
from PIL import Image

from lidar_rank.analysis import Diagnosis, count_distributions, count_reverse_pairs
from lidar_rank.kitti import join_frames, objects_from_lidar, read_calibration
from lidar_rank.kitti.calibration import WITHOUT_CAMERA, format_calibration
from lidar_rank.kitti.labels import KittiObjects
from lidar_rank.kitti.predictions import objects_without_camera
from lidar_rank.kitti.range import BEYOND_EVERY_DIFFICULTY
from lidar_rank.page import Results, Run
from tests.analysis.candidates import random_candidates
from tests.kitti.roots import CALIBRATION

IMAGE_SIZE = (1242, 375)
CAR = np.array([10.0, 0.0, -1.7, 4.0, 1.6, 1.5, 0.0])


def moved(x_m: float, y_m: float) -> np.ndarray:
    """A car somewhere else."""
    return CAR + np.array([x_m, y_m, 0, 0, 0, 0, 0])


TRUE = np.stack([CAR, moved(15, -5)])
FOUND = np.stack([moved(0.1, 0), moved(0.9, 0), moved(2, 5)])  # a car twice, the second time badly, and one false
SCORES = np.array([0.8, 0.9, 0.4])


@cache
def _image() -> bytes:
    """A PNG file of soft coloured noise."""
    pixels = np.random.default_rng(0).integers(0, 255, (IMAGE_SIZE[1] // 25, IMAGE_SIZE[0] // 27, 3), dtype=np.uint8)
    content = io.BytesIO()
    Image.fromarray(pixels).resize(IMAGE_SIZE).save(content, format="PNG", compress_level=1)
    return content.getvalue()


def make_scans(folder: Path, names: list[str], *, images: bool = True) -> Path:
    """The scans, calibrations and images of ``names``, without label files."""
    for part in ("velodyne", "calib", "image_2"):
        (folder / part).mkdir(parents=True, exist_ok=True)
    for seed, name in enumerate(names):
        rng = np.random.default_rng(seed)
        points = np.column_stack([rng.uniform(-20, 40, (3000, 2)), rng.uniform(-2, 1, 3000), rng.random(3000)])
        points.astype(np.float32).tofile(folder / "velodyne" / f"{name}.bin")
        (folder / "calib" / f"{name}.txt").write_text(CALIBRATION)
        if images:
            (folder / "image_2" / f"{name}.png").write_bytes(_image())
    return folder


def scan_results(
    folder: Path,
    names: list[str],
    found: np.ndarray = FOUND,
    scores: np.ndarray = SCORES,
    true: np.ndarray = TRUE,
    true_names: tuple[str, ...] = ("Car", "Car"),
) -> Results:
    """The same boxes in every scan."""
    calibration = read_calibration(folder / "calib" / f"{names[0]}.txt")
    truth = [objects_from_lidar(name, true, true_names, calibration, IMAGE_SIZE) for name in names]
    boxes = [
        objects_from_lidar(name, found, ["Car"] * len(found), calibration, IMAGE_SIZE, scores=scores) for name in names
    ]
    files = tuple(folder / "velodyne" / f"{name}.bin" for name in names)
    return Results(files, True, True, {"Car": 0.7}, "official", join_frames(truth), join_frames(boxes))


def results_without_camera(folder: Path, names: list[str], true: np.ndarray = TRUE) -> Results:
    """The same boxes in every scan of ``make_scans``, from whose calibrations the camera is removed."""
    for name in names:
        (folder / "calib" / f"{name}.txt").write_text(format_calibration(WITHOUT_CAMERA))
    truth = [objects_without_camera(name, true, ["Car"] * len(true)) for name in names]
    boxes = [objects_without_camera(name, FOUND, ["Car"] * len(FOUND), scores=SCORES) for name in names]
    files = tuple(folder / "velodyne" / f"{name}.bin" for name in names)
    return Results(files, True, False, {"Car": 0.7}, "recall", join_frames(truth), join_frames(boxes))


def runs_of_other_classes_and_ranges() -> dict[str, Results]:
    """Two persons and two cars, found by a detector of cars, by one of both, and by one that sees few metres."""
    names = ["Pedestrian", "Pedestrian", "Car", "Car"]
    boxes = np.stack([moved(-5, 0), moved(0, 3), moved(5, 6), moved(50, 9)])
    boxes[:2, 3:6] = 0.8, 0.6, 1.7
    truth = objects_without_camera("000000", boxes, names)
    outside = dataclasses.replace(truth, occlusion=np.array([0.0, 0.0, 0.0, BEYOND_EVERY_DIFFICULTY]))
    own = {"car": (truth, [2, 3]), "both": (truth, [0, 1, 2, 3]), "near": (outside, [0, 1, 2])}
    scores = np.array([0.9, 0.8, 0.7, 0.6])
    return {
        run: Results(
            files=(Path("000000.bin"),),
            is_3d=True,
            has_difficulties=False,
            min_overlap={"Car": 0.7} if run == "car" else {"Car": 0.7, "Pedestrian": 0.5},
            sampling="recall",
            objects=objects,
            detections=objects_without_camera(
                "000000", boxes[found], [names[row] for row in found], scores=scores[found]
            ),
        )
        for run, (objects, found) in own.items()
    }


def image_table(name: str, names: list[str], boxes: list[list[float]], scores: list[float] | None) -> KittiObjects:
    count = len(boxes)
    return KittiObjects(
        (name,),
        np.array([0, count]),
        np.array(names, dtype=np.str_),
        *(np.full(count, unknown) for unknown in (-1.0, -1.0, -10.0)),
        np.array(boxes, dtype=float).reshape(count, 4),
        np.full((count, 3), -1.0),
        np.full((count, 3), -1000.0),
        np.full(count, -10.0),
        np.full(count, np.nan) if scores is None else np.array(scores),
    )


def run_of(results: Results | None, seed: int = 0, metrics: dict[str, float] | None = None, **settings: str) -> Run:
    """A run with random candidates."""
    candidates = random_candidates(seed)
    diagnosis = Diagnosis(metrics or {}, count_reverse_pairs(*candidates), count_distributions(*candidates), 0.25)
    return Run(diagnosis, settings, results)
