"""Detection in single scans, as ``lidar-rank predict`` and :func:`lidar_rank.predict` do it."""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from shlex import quote
from typing import Any, Final

import numpy as np
import torch
from mmdet3d.structures import Box3DMode, Det3DDataSample, LiDARInstance3DBoxes
from mmengine.registry import DefaultScope
from tqdm import tqdm

import lidar_rank.mm  # noqa: F401 - registers all that configs name
from lidar_rank import runs, sparse
from lidar_rank.evaluation.distance import default_min_overlap
from lidar_rank.geometry import nms_bev
from lidar_rank.geometry.boxes import BEV_OF_3D
from lidar_rank.kitti import Calibration, objects_from_lidar, read_calibration, read_kitti_labels
from lidar_rank.kitti.files import write_atomically
from lidar_rank.kitti.predictions import objects_without_camera
from lidar_rank.mm.checkpoints import check_fits, read_weights
from lidar_rank.mm.configs import load_config
from lidar_rank.mm.registry import MODELS
from lidar_rank.page import Results, Scene, SceneReader, render_page, scene_of_detections
from lidar_rank.predictions import Detections, write_detections
from lidar_rank.scans import SensorFrame, read_scan
from lidar_rank.weights import find_model

HIGHEST_INTENSITY: Final = 1.5  # networks learn from 0 to 1


@dataclass(frozen=True)
class Detector:
    """A trained network and what is needed to use it.

    Attributes:
        model: The network, on its device, in evaluation mode.
        classes: Names of its classes, in the order of its labels.
        range_m: ``(x_min, y_min, z_min, x_max, y_max, z_max)`` of the points that it sees, in KITTI's LiDAR frame.
        nms_iou: IoU from above at which its own non-maximum suppression drops a box.
    """

    model: torch.nn.Module
    classes: Sequence[str]
    range_m: tuple[float, ...]
    nms_iou: float

    @property
    def view_angles_rad(self) -> np.ndarray:
        """Directions to look into so that a circle of radius ``x_max`` around the sensor is covered; 0 is the first.

        A network whose range includes the sides and the back looks into one.
        """
        x_min, y_min, _, x_max, y_max, _ = self.range_m
        if x_min <= -x_max:
            return np.zeros(1)
        half_width_rad = np.arcsin(min(y_max, -y_min, x_max) / x_max)
        views = int(np.ceil(np.pi / half_width_rad))
        return 2 * np.pi * np.arange(views) / views


def load_detector(
    model: str,
    checkpoint: str | Path | None = None,
    *,
    loss: str | None = None,
    device: str | None = None,
    options: dict | None = None,
) -> Detector:
    """Load a trained detector of scans.

    Args:
        model: Name of a model that comes with the package (``lidar-rank models`` lists them), or path of the mmengine
            config of ``checkpoint``.
        checkpoint: Path of weights that were trained with the config.
        loss: Name of the loss that they were trained with, where that changes the model.
        device: ``"cpu"``, ``"cuda"``, ``"cuda:1"``; default the first GPU, else the CPU.
        options: Settings that replace those of the config, keys with dots.

    Raises:
        FileNotFoundError: there is no such config or checkpoint.
        ValueError: there is no such model, the checkpoint is damaged or of another model, the config is not of a
            detector of scans, or the device does not exist.
    """
    config, weights_file, loss = find_model(model, checkpoint, loss)
    runs.check_checkpoint(weights_file)
    cfg = load_config(config, loss, options)
    if "voxel_layer" not in cfg.model.get("data_preprocessor", {}):
        raise ValueError(f"{config} is not the config of a detector of scans: its model voxelises nothing")
    name = device or ("cuda" if torch.cuda.is_available() else "cpu")
    if name.startswith("cuda") and not torch.cuda.is_available():
        raise ValueError(f"device {name} was asked for, and torch finds no GPU: use 'cpu'")
    if name.startswith("cpu") and sparse.backend().__name__.startswith("spconv_triton"):
        raise ValueError(
            "spconv-triton, which this process took for its GPU, has no code for CPUs: set LIDAR_RANK_SPARSE=native"
            " before lidar_rank is imported, or give another device"
        )
    with DefaultScope.overwrite_default_scope(cfg.get("default_scope", "mmdet3d")):
        network = MODELS.build(cfg.model)
    weights = read_weights(weights_file)
    check_fits(network, weights, str(weights_file))
    network.load_state_dict(weights, strict=False)
    metainfo = cfg.test_dataloader.dataset.metainfo
    return Detector(
        model=network.to(name).eval(),
        classes=tuple(metainfo["classes"]),
        range_m=tuple(cfg.model.data_preprocessor.voxel_layer.point_cloud_range),
        nms_iou=float(cfg.model.test_cfg.nms_thr),
    )


@torch.inference_mode()
def predict(
    detector: Detector,
    points: np.ndarray,
    *,
    frame: SensorFrame | None = None,
    min_score: float = 0.3,
    full_circle: bool = True,
) -> Detections:
    """Detect objects in one scan.

    Args:
        detector: From :func:`load_detector`.
        points: (N, 4) x, y, z in metres and intensity; x forward, y left, z up, as
            :func:`lidar_rank.scans.read_scan` gives them.
        frame: How the sensor is mounted; default as KITTI's, 1.73 m above the road with intensities from 0 to 1.
        min_score: Boxes with lower scores are left out.
        full_circle: Turn the scan for networks that see only the front, so that they look into every direction.

    Returns:
        Boxes in the frame of ``points``, best first.

    Raises:
        ValueError: the points have another shape, or values that are not finite.
    """
    points = _checked(points)
    frame = frame or SensorFrame()
    moved = frame.points_to_kitti(points)
    highest = moved[:, 3].max(initial=0)
    if highest > HIGHEST_INTENSITY:
        warnings.warn(
            f"intensities reach {highest:g}, and networks expect 0 to 1: say by which factor they differ"
            " (SensorFrame(intensity_scale=...), --intensity-scale)",
            stacklevel=2,
        )
    angles = detector.view_angles_rad if full_circle else np.zeros(1)
    views = [_crop(_turn(moved, -angle), detector.range_m) for angle in angles]
    seen = [(view, angle) for view, angle in zip(views, angles, strict=True) if len(view)]
    if not seen:
        return Detections(np.zeros((0, 7)), np.zeros(0), np.zeros(0, dtype=np.str_))
    found = _run(detector, [view for view, _ in seen])
    boxes = np.concatenate([_turn_boxes(boxes, angle) for (boxes, _, _), (_, angle) in zip(found, seen, strict=True)])
    scores, labels = (np.concatenate([part[column] for part in found]) for column in (1, 2))
    kept = _merge(boxes, scores, labels, min_score, detector.nms_iou if len(seen) > 1 else None)
    names = np.array(detector.classes)[labels[kept]]
    return Detections(frame.boxes_from_kitti(boxes[kept]), scores[kept], names)


def _checked(points: np.ndarray) -> np.ndarray:
    points = np.asarray(points, dtype=np.float32)
    if points.ndim != 2 or points.shape[1] != 4:
        raise ValueError(f"points must have shape (N, 4): x, y, z, intensity, got {points.shape}")
    if not np.isfinite(points).all():
        raise ValueError("points must be finite: leave out those without an echo")
    return points


def _crop(points: np.ndarray, range_m: Sequence[float]) -> np.ndarray:
    """The points strictly inside the range, as the host's ``PointsRangeFilter`` leaves them in tests."""
    low, high = np.float32(range_m[:3]), np.float32(range_m[3:])
    return points[((points[:, :3] > low) & (points[:, :3] < high)).all(axis=1)]


def _turn(points: np.ndarray, angle_rad: float) -> np.ndarray:
    return SensorFrame(rotate_z_rad=angle_rad).points_to_kitti(points) if angle_rad else points


def _turn_boxes(boxes: np.ndarray, angle_rad: float) -> np.ndarray:
    return SensorFrame(rotate_z_rad=-angle_rad).boxes_from_kitti(boxes) if angle_rad else boxes


def _run(detector: Detector, views: Sequence[np.ndarray]) -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Boxes (n, 7), scores and labels of each view.

    Sizes overflow where points are unlike those of the training; such boxes are nowhere.
    """
    samples = [
        Det3DDataSample(metainfo={"box_type_3d": LiDARInstance3DBoxes, "box_mode_3d": Box3DMode.LIDAR}) for _ in views
    ]
    inputs: dict[str, Any] = {"points": [torch.from_numpy(np.ascontiguousarray(view)) for view in views]}
    results = detector.model.test_step({"inputs": inputs, "data_samples": samples})
    instances = [result.pred_instances_3d.to("cpu") for result in results]
    found = [(one.bboxes_3d.tensor[:, :7].double(), one.scores_3d.double(), one.labels_3d) for one in instances]
    usable = [boxes.isfinite().all(dim=1) for boxes, _, _ in found]
    return [
        (boxes[kept].numpy(), scores[kept].numpy(), labels[kept].numpy())
        for (boxes, scores, labels), kept in zip(found, usable, strict=True)
    ]


def _merge(
    boxes: np.ndarray, scores: np.ndarray, labels: np.ndarray, min_score: float, nms_iou: float | None
) -> np.ndarray:
    """Indices of the boxes to keep, best first; with ``nms_iou`` one of those that views have in common."""
    kept = []
    for label in np.unique(labels):
        mine = np.flatnonzero((labels == label) & (scores >= min_score))
        if nms_iou is not None:
            mine = mine[nms_bev(boxes[mine][:, BEV_OF_3D], scores[mine], nms_iou)]
        kept.append(mine)
    indices = np.concatenate(kept) if kept else np.zeros(0, dtype=np.int64)
    return indices[np.argsort(-scores[indices], kind="stable")]


def predict_files(
    detector: Detector,
    files: Sequence[Path],
    out: Path,
    *,
    frame: SensorFrame | None = None,
    min_score: float = 0.3,
    full_circle: bool = True,
    columns: Sequence[str] | None = None,
    dtype: str | None = None,
    unit_m: float = 1.0,
    calibrations: Path | None = None,
    image_size: tuple[int, int] = (1242, 375),
    page: bool = False,
    labels: Path | None = None,
) -> None:
    """Detect objects in files of scans; write what :func:`lidar_rank.predictions.write_detections` describes.

    The boxes of a single scan are printed as a table, those of many as a line for each scan.

    Args:
        detector: From :func:`load_detector`.
        files: Scans whose names differ.
        out: Folder for the results.
        frame: As for :func:`predict`.
        min_score: As for :func:`predict`.
        full_circle: As for :func:`predict`.
        columns: As for :func:`lidar_rank.scans.read_scan`.
        dtype: As for :func:`lidar_rank.scans.read_scan`.
        unit_m: As for :func:`lidar_rank.scans.read_scan`.
        calibrations: A calibration file for all scans, or a folder with ``NAME.txt`` for each.
        image_size: Of the calibrated camera, in pixels.
        page: Whether to write ``index.html``, which shows all scans in 3D.
        labels: Folder of KITTI label files, whose objects the page compares; needs ``calibrations``.

    Raises:
        FileNotFoundError: a label file or a calibration is missing.
        ValueError: a scan cannot be read; the results of those before it are written.
    """
    reach_m = detector.range_m[3]

    def detect(file: Path) -> tuple[np.ndarray, Detections, Calibration | None]:
        points = read_scan(file, columns=columns, dtype=dtype, unit_m=unit_m)
        found = predict(detector, points, frame=frame, min_score=min_score, full_circle=full_circle)
        is_folder = calibrations is not None and calibrations.is_dir()
        calib = calibrations / f"{file.stem}.txt" if calibrations is not None and is_folder else calibrations
        calibration = None if calib is None else read_calibration(calib)
        of_camera = calibration if calibration is not None and calibration.has_camera else None
        write_detections(out, file.stem, found, points, reach_m, calibration=of_camera, image_size=image_size)
        if len(files) == 1:
            print(found.format_table())
        tqdm.write(f"{file}: {len(found)} boxes, {out / file.stem}.png shows them")
        if not len(found):
            tqdm.write(_why_nothing(detector, frame or SensorFrame(), file, points, min_score))
        return points, found, calibration

    progress = tqdm(files, desc="predict", unit="scan", disable=len(files) == 1)
    if not page:
        for file in progress:
            detect(file)
        return
    # The page takes a scan after the other and keeps a part of its points, so that those of all need not fit in memory.
    scenes = (_scene(file, *detect(file), detector, labels, image_size) for file in progress)
    overlaps = default_min_overlap(detector.classes)
    shown = render_page(scenes, "Detections of lidar_rank", ["predictions"], min_overlap=overlaps)
    write_atomically(out / "index.html", shown.text.encode())
    print(f"{out / 'index.html'} shows {shown.num_scenes} of {len(files)} scans in 3D")


def _scene(
    file: Path,
    points: np.ndarray,
    found: Detections,
    calibration: Calibration | None,
    detector: Detector,
    labels: Path | None,
    image_size: tuple[int, int],
) -> Scene:
    """A scan for the page; with labels and a camera only the boxes that it sees, because only those are labelled."""
    if labels is None or calibration is None:
        return scene_of_detections(file.stem, points, found)
    boxes = (file.stem, found.lidar_boxes, found.names)
    if calibration.has_camera:
        detections = objects_from_lidar(*boxes, calibration, image_size, scores=found.scores)
    else:
        detections = objects_without_camera(*boxes, scores=found.scores, calibration=calibration)
    results = Results(
        files=(file,),
        is_3d=True,
        has_difficulties=calibration.has_camera,
        min_overlap=default_min_overlap(detector.classes),
        sampling="official",
        objects=read_kitti_labels(labels, [file.stem]),
        detections=detections,
    )
    return SceneReader([results]).scene(file.stem, points, calibration)


def _why_nothing(detector: Detector, frame: SensorFrame, file: Path, points: np.ndarray, min_score: float) -> str:
    """What to look at when nothing was found."""
    moved = frame.points_to_kitti(points)
    reach_m, low_m, high_m = detector.range_m[3], detector.range_m[2], detector.range_m[5]
    seen = (np.hypot(moved[:, 0], moved[:, 1]) < reach_m) & (moved[:, 2] > low_m) & (moved[:, 2] < high_m)
    return (
        f"  {seen.sum()} of {len(points)} points lie within the network's {reach_m:g} m and {low_m:g} m to {high_m:g} m"
        f" of height; no box scores {min_score:g}. 'lidar-rank doctor {quote(str(file))}' says what differs from"
        " KITTI's scans and which option mends it; --score lowers the limit"
    )
