"""Annotation files: the dictionaries that mmdet3d 1.4's KittiDataset and DataBaseSampler read, with their keys."""

import pickle
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Final, TypeVar

import numpy as np
from numpy import ndarray

from lidar_rank.kitti.calibration import Calibration, homogeneous
from lidar_rank.kitti.classes import DONT_CARE, label_of
from lidar_rank.kitti.difficulty import difficulty_index
from lidar_rank.kitti.labels import KittiObjects
from lidar_rank.kitti.root import Frame
from lidar_rank.shapes import Float, Int

DATABASE_FOLDER: Final = "kitti_gt_database"

Checked = TypeVar("Checked")


@dataclass(frozen=True, eq=False)
class AnnotatedFrame:
    """Labels and calibration of one frame.

    Attributes:
        frame: The frame.
        calibration: Its calibration.
        image_size: Width and height in pixels; None without a camera.
        classes: Of the root; a class's position is its label.
        labels: The objects of all frames.
        rows: Indices of this frame's objects of these classes and DontCare areas, in the label file's order.
    """

    frame: Frame
    calibration: Calibration
    image_size: tuple[int, int] | None
    classes: tuple[str, ...]
    labels: KittiObjects
    rows: Int[ndarray, " label"]

    @cached_property
    def object_rows(self) -> Int[ndarray, " object"]:
        """:attr:`rows` without DontCare."""
        return self.rows[self.labels.name[self.rows] != DONT_CARE]

    @cached_property
    def lidar_boxes(self) -> Float[ndarray, "object 7"]:
        """LiDAR boxes of :attr:`object_rows`."""
        rows = self.object_rows
        return self.calibration.camera_boxes_to_lidar(
            self.labels.location_m[rows], self.labels.size_m[rows], self.labels.yaw_rad[rows]
        )

    @property
    def database_paths(self) -> list[str]:
        """Files of the cut-out objects, below the root, in the order of :attr:`object_rows`."""
        names = self.labels.name[self.object_rows]
        return [f"{DATABASE_FOLDER}/{int(self.frame.name)}_{name}_{i}.bin" for i, name in enumerate(names)]


def infos_content(data_list: list[dict[str, Any]], classes: Sequence[str]) -> dict[str, Any]:
    """Content of ``kitti_infos_*.pkl`` from its entries."""
    metainfo = {"categories": label_of(classes), "dataset": "kitti", "info_version": "1.1"}
    return {"metainfo": metainfo, "data_list": data_list}


def frame_info(annotated: AnnotatedFrame, points_in_objects: list[int]) -> dict[str, Any]:
    """One entry of ``data_list`` in ``kitti_infos_*.pkl``.

    Args:
        annotated: The frame.
        points_in_objects: Points of the reduced cloud inside each of its ``object_rows``.

    Returns:
        Plain Python values only.
    """
    frame, calibration = annotated.frame, annotated.calibration
    lidar_to_camera = calibration.lidar_to_camera_matrix
    images: dict[str, Any] = {}
    for camera, projection in enumerate(() if calibration.projections is None else calibration.projections):
        camera_to_image = homogeneous(projection)
        images[f"CAM{camera}"] = {
            "cam2img": camera_to_image.tolist(),
            "lidar2img": (camera_to_image @ lidar_to_camera).tolist(),
        }
    if annotated.image_size is not None:
        width_px, height_px = annotated.image_size
        images["CAM2"] |= {"img_path": frame.image_path.name, "width": width_px, "height": height_px}
    images.setdefault("CAM2", {})["lidar2cam"] = lidar_to_camera.tolist()
    images["R0_rect"] = homogeneous(calibration.rectification).tolist()
    lidar_points = {
        "num_pts_feats": 4,
        "lidar_path": frame.points_path.name,
        "Tr_velo_to_cam": homogeneous(calibration.lidar_to_reference).tolist(),
    }
    if calibration.imu_to_lidar is not None:
        lidar_points["Tr_imu_to_velo"] = homogeneous(calibration.imu_to_lidar).tolist()
    instances = _instances(annotated, points_in_objects)
    return {"sample_idx": int(frame.name), "images": images, "lidar_points": lidar_points, "instances": instances}


def database_entries(annotated: AnnotatedFrame, points_in_objects: list[int]) -> list[dict[str, Any]]:
    """Entries of ``kitti_dbinfos_train.pkl`` for the objects of one frame; ``group_id`` is left to the caller.

    Args:
        annotated: The frame.
        points_in_objects: Points of the reduced cloud inside each of its ``object_rows``.
    """
    labels, rows = annotated.labels, annotated.object_rows
    levels = _difficulty(annotated, rows).tolist()
    return [
        {
            "name": str(labels.name[row]),
            "path": annotated.database_paths[i],
            "image_idx": int(annotated.frame.name),
            "gt_idx": i,
            "box3d_lidar": annotated.lidar_boxes[i].astype(np.float32),
            "num_points_in_gt": points_in_objects[i],
            "difficulty": levels[i],
            "score": float(np.nan_to_num(labels.score[row])),
        }
        for i, row in enumerate(rows)
    ]


def read_infos(path: Path) -> list[dict[str, Any]]:
    """Read ``kitti_infos_*.pkl`` and check what training and testing use of it.

    Args:
        path: File written by ``lidar-rank create-data``, or by mmdet3d 1.x.

    Returns:
        One entry per frame, as :func:`frame_info` makes it.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is damaged or in another format; the message names it.
    """
    return _read_pickle(path, _checked_infos)


def read_info_classes(path: Path) -> tuple[str, ...]:
    """Read the classes of ``kitti_infos_*.pkl``, each at the position of its label.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is damaged or in another format; the message names it.
    """
    return _read_pickle(path, _checked_classes)


def read_image_sizes(path: Path) -> dict[str, tuple[int, int] | None]:
    """Read width and height in pixels of the image of each frame, by the frame's name, from ``kitti_infos_*.pkl``.

    Returns:
        None for frames without a camera.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is damaged or in another format; the message names it.
    """
    return {Path(info["lidar_points"]["lidar_path"]).stem: _image_size(info) for info in read_infos(path)}


def read_database_infos(path: Path) -> dict[str, list[dict[str, Any]]]:
    """Read ``kitti_dbinfos_train.pkl`` and check what training uses of it.

    Returns:
        By class, one entry per object, as :func:`database_entries` makes it.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is damaged or in another format; the message names it.
    """
    return _read_pickle(path, _checked_database_infos)


def _read_pickle(path: Path, check: Callable[[Any], Checked]) -> Checked:
    content = path.read_bytes()
    try:
        return check(pickle.loads(content))
    except Exception as error:  # a damaged pickle raises errors of almost any type
        reason = f"{type(error).__name__}: {error}".splitlines()[0]
        raise ValueError(
            f"{path}: damaged, or not in the format of mmdet3d 1.x ({reason}): run 'lidar-rank create-data' again"
        ) from error


def _checked_classes(content: Any) -> tuple[str, ...]:
    by_label = {label: name for name, label in content["metainfo"]["categories"].items() if name != DONT_CARE}
    return tuple(by_label[label] for label in range(len(by_label)))


def _checked_infos(content: Any) -> list[dict[str, Any]]:
    labels = {-1, *content["metainfo"]["categories"].values()}
    for info in content["data_list"]:
        Path(info["lidar_points"]["lidar_path"])
        _image_size(info)
        _check_finite(info["images"]["CAM2"]["lidar2cam"], (4, 4))
        instances = info["instances"]
        if not {each[key] for each in instances for key in ("bbox_label", "bbox_label_3d")} <= labels:
            raise ValueError(f"frame {info['lidar_points']['lidar_path']} has an unknown class")
        if instances:
            _check_finite([each["bbox_3d"] for each in instances], (len(instances), 7))
    return content["data_list"]


def _image_size(info: dict[str, Any]) -> tuple[int, int] | None:
    camera = info["images"]["CAM2"]
    if "cam2img" not in camera:
        return None
    width_px, height_px = int(camera["width"]), int(camera["height"])
    if min(width_px, height_px) < 1:
        raise ValueError(f"an image is {width_px} x {height_px} pixels")
    return width_px, height_px


def _checked_database_infos(content: Any) -> dict[str, list[dict[str, Any]]]:
    for entries in content.values():
        for entry in entries:
            Path(entry["path"])
            _check_finite(entry["box3d_lidar"], (7,))
            _check_finite([entry["difficulty"], entry["num_points_in_gt"]], (2,))
    return dict(content)


def _check_finite(values: Any, shape: tuple[int, ...]) -> None:
    array = np.asarray(values, dtype=np.float64)
    if array.shape != shape or not np.isfinite(array).all():
        raise ValueError(f"expected {shape} finite numbers, got {values}")


def _instances(annotated: AnnotatedFrame, points_in_objects: list[int]) -> list[dict[str, Any]]:
    labels, rows = annotated.labels, annotated.rows
    center_m = labels.location_m[rows]
    center_m[:, 1] -= labels.size_m[rows, 0] / 2
    if annotated.calibration.has_camera:
        center_px, depth_m = annotated.calibration.camera_to_image(center_m)
    else:
        center_px, depth_m = np.zeros((len(rows), 2)), center_m[:, 2]
    # The host's camera boxes list length, height, width.
    boxes = np.column_stack([labels.location_m[rows], labels.size_m[rows][:, [2, 0, 1]], labels.yaw_rad[rows]])
    is_object = labels.name[rows] != DONT_CARE
    index, num_lidar_pts = np.full((2, len(rows)), -1)
    index[is_object], num_lidar_pts[is_object] = np.arange(is_object.sum()), points_in_objects
    labels_of_names = label_of(annotated.classes)
    class_label = [labels_of_names[name] for name in labels.name[rows]]
    columns = {
        "bbox": labels.bbox_px[rows].tolist(),
        "bbox_label": class_label,
        "bbox_3d": boxes.tolist(),
        "bbox_label_3d": class_label,
        "depth": depth_m.tolist(),
        "center_2d": center_px.tolist(),
        "num_lidar_pts": num_lidar_pts.tolist(),
        "difficulty": _difficulty(annotated, rows).tolist(),
        "truncated": labels.truncation[rows].tolist(),
        "occluded": labels.occlusion[rows].astype(int).tolist(),
        "alpha": labels.alpha_rad[rows].tolist(),
        "score": np.nan_to_num(labels.score[rows]).tolist(),
        "index": index.tolist(),
        "group_id": list(range(len(rows))),
    }
    return [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]


def _difficulty(annotated: AnnotatedFrame, rows: Int[ndarray, " row"]) -> Int[ndarray, " row"]:
    """Index of the easiest level of each object; without a camera, by whose image levels are defined, all are easy."""
    if not annotated.calibration.has_camera:
        return np.zeros(len(rows), dtype=np.int64)
    labels = annotated.labels
    return difficulty_index(labels.bbox_px[rows], labels.occlusion[rows], labels.truncation[rows])
