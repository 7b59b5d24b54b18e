"""Files for the detections of one scan: JSON, KITTI's text format and a picture from above."""

import json
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy import ndarray

from lidar_rank.analysis import pictures
from lidar_rank.kitti import Calibration, objects_from_lidar, write_kitti_results
from lidar_rank.kitti.files import write_atomically
from lidar_rank.kitti.predictions import box_corners, objects_without_camera
from lidar_rank.predictions.detections import Detections
from lidar_rank.shapes import Float

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MARGIN_M = 5.0  # around the points and boxes that a picture shows


def write_detections(
    folder: Path,
    name: str,
    detections: Detections,
    points: Float[ndarray, "point 4"],
    range_m: float,
    *,
    calibration: Calibration | None = None,
    image_size: tuple[int, int] = (1242, 375),
) -> None:
    """Write ``NAME.json``, ``NAME.txt`` and ``NAME.png``; with a calibration also ``camera/NAME.txt``.

    ``NAME.txt`` has the columns of KITTI's result files. Its boxes are in the frame of an ideal camera in the place of
    the sensor: x to the right, y down, z forward. ``camera/NAME.txt`` is the result file in the frame of the calibrated
    camera, with the boxes that it sees, as ``lidar-rank evaluate`` reads it.

    Args:
        folder: Made if missing; files of the same name are replaced.
        name: Of the scan.
        detections: Its boxes.
        points: The scan, for the picture.
        range_m: Distance up to which the picture shows the scan.
        calibration: Of the scan, if it has one.
        image_size: Width and height in pixels of the calibrated camera's image.

    Raises:
        OSError: the folder cannot be written to.
    """
    folder.mkdir(parents=True, exist_ok=True)
    text = json.dumps(detections.to_json(), indent=1)
    write_atomically(folder / f"{name}.json", f"{text}\n".encode())
    boxes = (name, detections.lidar_boxes, detections.names)
    write_kitti_results(folder, objects_without_camera(*boxes, scores=detections.scores))
    if calibration is not None:
        seen = objects_from_lidar(*boxes, calibration, image_size, scores=detections.scores)
        write_kitti_results(folder / "camera", seen)
    draw_detections(points, detections, range_m).savefig(folder / f"{name}.png")


def draw_detections(points: Float[ndarray, "point 4"], detections: Detections, range_m: float) -> "Figure":
    """Draw a scan and its boxes from above.

    Args:
        points: x, y, z, intensity in the frame of the boxes.
        detections: Boxes.
        range_m: Distance from the sensor to show; less where no point or box is so far away.

    Returns:
        A figure without a window. Save it with ``figure.savefig(path)``.
    """
    near = points[(np.abs(points[:, :2]) <= range_m).all(axis=1)]
    corners = box_corners(detections.lidar_boxes)
    shown = np.concatenate([near[:, :2], corners.reshape(-1, 3)[:, :2], np.zeros((1, 2))])
    (x_min, y_min), (x_max, y_max) = shown.min(axis=0) - MARGIN_M, shown.max(axis=0) + MARGIN_M
    return pictures.draw_bev(near, corners, np.zeros((0, 8, 3)), (x_min, y_min, 0.0, x_max, y_max, 0.0))
