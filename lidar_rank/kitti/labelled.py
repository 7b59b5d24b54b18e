"""Scans of a KITTI-format root with the boxes of their labels, whether or not the root is prepared."""

from pathlib import Path

import numpy as np
from numpy import ndarray

from lidar_rank.kitti.calibration import read_calibration
from lidar_rank.kitti.labels import list_frame_ids, read_kitti_labels
from lidar_rank.shapes import Float


def read_labelled_scans(root: Path) -> tuple[list[Path], list[Float[ndarray, "box 7"]]]:
    """List the labelled scans of ``training/`` and read their objects.

    Args:
        root: Folder with ``training/velodyne``, ``training/label_2`` and ``training/calib``.

    Returns:
        The scans, and for each (x, y, z_bottom, length, width, height, yaw) of its objects in its frame. DontCare areas
        and labels without a size are left out.

    Raises:
        FileNotFoundError: no scan has a label file, or a calibration is missing.
        ValueError: a file is malformed; the message names it.
    """
    folder = root / "training"
    frame_ids = [name for name in list_frame_ids(folder / "label_2") if (folder / "velodyne" / f"{name}.bin").is_file()]
    if not frame_ids:
        raise FileNotFoundError(f"no scan of {folder / 'velodyne'} has a label file in {folder / 'label_2'}")
    labels = read_kitti_labels(folder / "label_2", frame_ids)
    boxes = []
    for index, name in enumerate(frame_ids):
        objects = labels.frame(index)
        calibration = read_calibration(folder / "calib" / f"{name}.txt")
        sized = (objects.size_m > 0).all(axis=1) & (objects.name != "DontCare")
        found = calibration.camera_boxes_to_lidar(objects.location_m, objects.size_m, objects.yaw_rad)
        boxes.append(np.ascontiguousarray(found[sized]))
    return [folder / "velodyne" / f"{name}.bin" for name in frame_ids], boxes
