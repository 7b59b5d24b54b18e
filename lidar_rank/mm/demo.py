"""The whole path in one command, ``lidar-rank demo``: simulate, prepare, train, test, draw."""

import json
import os
import time
from pathlib import Path

import numpy as np

from lidar_rank import runs
from lidar_rank.analysis import pictures
from lidar_rank.config_files import config_folder, find_config
from lidar_rank.evaluation import evaluate_kitti, format_table
from lidar_rank.kitti import prepare_kitti, read_calibration, read_kitti_labels, read_kitti_results
from lidar_rank.kitti.calibration import Calibration
from lidar_rank.kitti.files import read_points, write_atomically
from lidar_rank.kitti.labels import KittiObjects, read_frame_ids
from lidar_rank.kitti.predictions import box_corners
from lidar_rank.kitti.range import ignore_outside_range
from lidar_rank.simulation import simulate_image, simulate_kitti
from lidar_rank.simulation.camera import IMAGE_SIZE

CONFIG = config_folder() / "second" / "second_kitti-car_tiny.py"
LOSS = "focal-rankdet-iou+box-iou"
RANGE_M = (0.0, -19.2, -3.0, 38.4, 19.2, 1.0)
MIN_SCORE_DRAWN = 0.3


def run(out: Path, *, scans: int, held_back: int, seed: int, jobs: int) -> None:
    """Make a data set, train a detector on it, and show how good it is.

    Its losses are focal loss, IoU-guided ranking, and the overlap of the boxes.

    Args:
        out: Work folder: data, checkpoints, result files, table and pictures.
        scans: Number of simulated scans to train on.
        held_back: Number of further scans to test on.
        seed: Of the scenes and the training.
        jobs: Number of processes that simulate.

    Raises:
        FileExistsError: ``out`` holds data that no simulation made.
        FileNotFoundError: the configs do not lie beside the package, as they do in a checkout of the project.
        ValueError: a number is too small.
    """
    runs.check_counts(scans=scans, held_back=held_back, jobs=jobs)
    runs.check_counts(0, seed=seed)
    find_config(CONFIG)
    root, results = out / "kitti", out / "results"
    _say("1/4", f"simulating {scans + held_back} scans in {root}")
    simulate_kitti(root, scans=scans + held_back, seed=seed, jobs=jobs, images=False, val=held_back)
    prepare_kitti(root, image_size=IMAGE_SIZE)

    _say("2/4", f"training a small SECOND with --loss {LOSS}; eta is the time it will still take")
    os.environ["KITTI_ROOT"] = str(root)
    from lidar_rank.mm import running

    running.train(str(CONFIG), loss=LOSS, work_dir=str(out / "training"), seed=seed)

    _say("3/4", f"testing on the {held_back} held-back scans")
    checkpoint = _last_checkpoint(out / "training")
    running.test(str(CONFIG), str(checkpoint), loss=LOSS, out=str(results), work_dir=str(out / "testing"))

    _say("4/4", "drawing")
    _draw(root, results, out, seed)
    _draw_losses(out)
    print(_summary(root, results, out))


def _say(step: str, what: str) -> None:
    print(f"[{time.strftime('%H:%M:%S')}] {step} {what}", flush=True)


def _last_checkpoint(work_dir: Path) -> Path:
    return Path((work_dir / "last_checkpoint").read_text().strip())


def _draw(root: Path, results: Path, out: Path, seed: int) -> None:
    """Draw the held-back frame with the most cars."""
    frame_ids = read_frame_ids(root / "ImageSets" / "val.txt")
    objects = read_kitti_labels(root / "training" / "label_2", frame_ids)
    detections = read_kitti_results(results, frame_ids)
    cars = [int((objects.frame(i).name == "Car").sum()) for i in range(len(frame_ids))]
    index = int(np.argmax(cars))
    frame_id = frame_ids[index]
    calibration = read_calibration(root / "training" / "calib" / f"{frame_id}.txt")
    true = _corners(objects.frame(index), calibration)
    predicted = _corners(detections.frame(index), calibration)
    points = read_points(root / "training" / "velodyne_reduced" / f"{frame_id}.bin")
    pictures.draw_bev(points, predicted, true, RANGE_M).savefig(out / "bev.png")
    pixels = [_project(corners, calibration) for corners in (predicted, true)]
    pictures.draw_camera(simulate_image(int(frame_id), seed=seed), *pixels).savefig(out / "camera.png")


def _corners(objects: KittiObjects, calibration: Calibration) -> np.ndarray:
    """Corners (box, 8, 3) in the LiDAR frame, metres, of the cars; of detections only those with a score to draw."""
    drawn = (objects.name == "Car") & ~(objects.score < MIN_SCORE_DRAWN)
    boxes = calibration.camera_boxes_to_lidar(objects.location_m, objects.size_m, objects.yaw_rad)
    return box_corners(boxes[drawn])


def _project(corners_m: np.ndarray, calibration: Calibration) -> np.ndarray:
    pixels, depth_m = calibration.lidar_to_image(corners_m.reshape(-1, 3))
    in_front = (depth_m > 0).reshape(-1, 8).all(axis=1)
    return pixels.reshape(-1, 8, 2)[in_front]


def _draw_losses(out: Path) -> None:
    (log,) = sorted((out / "training").glob("*/vis_data/scalars.json"))[-1:]
    rows = [row for row in map(json.loads, log.read_text().splitlines()) if "loss" in row]
    curves = {name: [row[name] for row in rows] for name in rows[0] if name.startswith("loss")}
    pictures.draw_losses(curves, [row["step"] for row in rows]).savefig(out / "losses.png")


def _summary(root: Path, results: Path, out: Path) -> str:
    frame_ids = read_frame_ids(root / "ImageSets" / "val.txt")
    objects = read_kitti_labels(root / "training" / "label_2", frame_ids)
    objects = ignore_outside_range(objects, root / "training" / "calib", RANGE_M)
    result = evaluate_kitti(objects, read_kitti_results(results, frame_ids), classes=["Car"])
    write_atomically(out / "ap.json", (json.dumps(result.ap_percent(), indent=2) + "\n").encode())
    return f"""
cars within {RANGE_M[3]:g} m, the range of the detector:
{format_table(result)}

made in {out}:
  bev.png, camera.png   a held-back scan, objects green, predictions red
  losses.png            the losses during training
  ap.json, results/     average precision, and a result file for every held-back scan
  training/             log, TensorBoard, checkpoints
next:
  tensorboard --logdir {out / "training"}
  KITTI_ROOT={root} lidar-rank train second_kitti-car_small     # focal loss instead
  data/README.md says how to get real KITTI scans"""
