"""From boxes that a detector predicts in the LiDAR frame to the detections of a KITTI result file."""

from collections.abc import Sequence
from typing import Final

import numpy as np
from jaxtyping import Bool, Float, Shaped
from numpy import ndarray

from lidar_rank.geometry.boxes import wrap_angle
from lidar_rank.kitti.calibration import Calibration
from lidar_rank.kitti.labels import KittiObjects

# Corners nearer to the image plane than this have no meaningful pixel.
MIN_CORNER_DEPTH_M: Final = 0.1
# Corners of the unit box: half length, half width, height.
UNIT_CORNERS: Final = np.array([(x, y, z) for x in (-0.5, 0.5) for y in (-0.5, 0.5) for z in (0.0, 1.0)])
UNKNOWN: Final = -1.0


def detections_of_frame(
    frame_id: str,
    lidar_boxes: Float[ndarray, "box 7"],
    names: Sequence[str] | Shaped[ndarray, " box"],
    scores: Float[ndarray, " box"],
    calibration: Calibration,
    image_size: tuple[int, int],
) -> KittiObjects:
    """Turn predicted boxes into detections; boxes that the camera does not see are left out, as KITTI labels none.

    Args:
        frame_id: Name of the frame.
        lidar_boxes: ``(x, y, z_bottom, length, width, height, yaw)`` in the LiDAR frame.
        names: Class of each box.
        scores: Confidence of each box.
        calibration: Of the frame.
        image_size: Width and height in pixels.

    Returns:
        One row per visible box: the image box encloses its projection, cut at the image's border.
    """
    boxes = np.asarray(lidar_boxes, dtype=np.float64)
    bbox_px, visible = _image_boxes(boxes, calibration, image_size)
    location_m, size_m, yaw_rad = calibration.lidar_boxes_to_camera(boxes[visible])
    count = int(visible.sum())
    return KittiObjects(
        frame_ids=(frame_id,),
        frame_start=np.array([0, count]),
        name=np.asarray(names, dtype=np.str_)[visible],
        truncation=np.full(count, UNKNOWN),
        occlusion=np.full(count, UNKNOWN),
        alpha_rad=wrap_angle(yaw_rad - np.arctan2(location_m[:, 0], location_m[:, 2])),
        bbox_px=bbox_px[visible],
        size_m=size_m,
        location_m=location_m,
        yaw_rad=yaw_rad,
        score=np.asarray(scores, dtype=np.float64)[visible],
    )


def box_corners(lidar_boxes: Float[ndarray, "box 7"]) -> Float[ndarray, "box 8 3"]:
    """Corners in the LiDAR frame."""
    local = UNIT_CORNERS * lidar_boxes[:, None, 3:6]
    cos, sin = np.cos(lidar_boxes[:, 6:]), np.sin(lidar_boxes[:, 6:])
    x, y, z = local[..., 0], local[..., 1], local[..., 2]
    return np.stack([x * cos - y * sin, x * sin + y * cos, z], axis=-1) + lidar_boxes[:, None, :3]


def _image_boxes(
    lidar_boxes: Float[ndarray, "box 7"], calibration: Calibration, image_size: tuple[int, int]
) -> tuple[Float[ndarray, "box 4"], Bool[ndarray, " box"]]:
    """Enclosing image boxes, and which of them have an area inside the image."""
    pixels, depth_m = calibration.lidar_to_image(box_corners(lidar_boxes).reshape(-1, 3))
    in_front = (depth_m > MIN_CORNER_DEPTH_M).reshape(-1, 8, 1)
    pixels = pixels.reshape(-1, 8, 2)
    low = np.where(in_front, pixels, np.inf).min(axis=1)
    high = np.where(in_front, pixels, -np.inf).max(axis=1)
    limit = np.array(image_size) - 1.0
    bbox_px = np.concatenate([low.clip(0, limit), high.clip(0, limit)], axis=1)
    visible = in_front.any(axis=(1, 2)) & (bbox_px[:, 2:] > bbox_px[:, :2]).all(axis=1)
    return bbox_px, visible
