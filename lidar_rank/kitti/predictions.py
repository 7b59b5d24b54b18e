"""From boxes in the LiDAR frame, predicted or true, to the objects of KITTI's label and result files."""

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy import ndarray
from numpy.typing import ArrayLike

from lidar_rank.geometry.boxes import checked_boxes, wrap_angle
from lidar_rank.kitti.calibration import WITHOUT_CAMERA, Calibration
from lidar_rank.kitti.labels import KittiObjects
from lidar_rank.shapes import Bool, Float, Shaped

# Corners nearer to the image plane than this have no meaningful pixel.
MIN_CORNER_DEPTH_M: Final = 0.1
# Corners of the unit box: half length, half width, height.
UNIT_CORNERS: Final = np.array([(x, y, z) for x in (-0.5, 0.5) for y in (-0.5, 0.5) for z in (0.0, 1.0)])
UNKNOWN_IN_RESULTS: Final = -1.0


def objects_from_lidar(
    frame_id: str,
    lidar_boxes: Float[ndarray, "box 7"],
    names: Sequence[str] | Shaped[ndarray, " box"],
    calibration: Calibration,
    image_size: tuple[int, int],
    *,
    scores: Float[ndarray, " box"] | None = None,
    occlusion: Float[ndarray, " box"] | None = None,
    truncation: Float[ndarray, " box"] | None = None,
) -> KittiObjects:
    """Turn the boxes of one frame into ground truth or detections that ``evaluate_kitti`` takes.

    Boxes that the camera does not see are left out, as KITTI labels none of them. Tables of several frames are put
    together with :func:`join_frames`::

        truth, found = [], []
        for frame_id, true_boxes, true_names, boxes, names, scores in my_frames:
            truth.append(objects_from_lidar(frame_id, true_boxes, true_names, calibration, (1242, 375)))
            found.append(objects_from_lidar(frame_id, boxes, names, calibration, (1242, 375), scores=scores))
        result = evaluate_kitti(join_frames(truth), join_frames(found))

    Args:
        frame_id: Name of the frame, such as ``"000007"``.
        lidar_boxes: ``(x, y, z_bottom, length, width, height, yaw)`` in metres and radians in the LiDAR frame; further
            columns are not read.
        names: Class of each box.
        calibration: Calibration of the frame.
        image_size: Width and height in pixels.
        scores: Confidence of each detection; None for ground truth.
        occlusion: 0 visible, 1 partly, 2 largely occluded, 3 unknown. By default ground truth is fully visible.
        truncation: Share of each object outside the image, 0 to 1. By default ground truth is not truncated: without
            occlusion and truncation, its difficulty is that of its height in the image.

    Returns:
        One row for each visible box. The image box encloses the projected corners and is cut at the image's border;
        alpha is computed from position and yaw.

    Raises:
        ValueError: a shape is wrong, a value is not finite, or a size is not positive.
    """
    where = f"of frame {frame_id}"
    given = lidar_boxes if len(lidar_boxes) else np.zeros((0, 7))
    boxes = checked_boxes(given, f"lidar_boxes {where}", allow_wider=True)
    count = len(boxes)
    unknown = 0.0 if scores is None else UNKNOWN_IN_RESULTS
    name = np.asarray(names, dtype=np.str_)
    if name.shape != (count,):
        raise ValueError(f"names {where} must be {count}, one for each box, got {names}")
    bbox_px, visible = image_boxes(boxes, calibration, image_size)
    location_m, size_m, yaw_rad = calibration.lidar_boxes_to_camera(boxes[visible])
    return KittiObjects(
        frame_ids=(frame_id,),
        frame_start=np.array([0, len(location_m)]),
        name=name[visible],
        truncation=_column(truncation, f"truncation {where}", count, unknown)[visible],
        occlusion=_column(occlusion, f"occlusion {where}", count, unknown)[visible],
        alpha_rad=wrap_angle(yaw_rad - np.arctan2(location_m[:, 0], location_m[:, 2])),
        bbox_px=bbox_px[visible],
        size_m=size_m,
        location_m=location_m,
        yaw_rad=yaw_rad,
        score=_column(scores, f"scores {where}", count, np.nan)[visible],
    )


def objects_without_camera(
    frame_id: str,
    lidar_boxes: Float[ndarray, "box 7"],
    names: Sequence[str] | Shaped[ndarray, " box"],
    *,
    scores: Float[ndarray, " box"] | None = None,
    calibration: Calibration = WITHOUT_CAMERA,
) -> KittiObjects:
    """Turn the boxes of one frame, seen by a camera or not, into ground truth or detections.

    Args:
        frame_id: Name of the frame.
        lidar_boxes: As for :func:`objects_from_lidar`.
        names: Class of each box.
        scores: Confidence of each detection; None for ground truth.
        calibration: Of the frame; by default that of scans without a camera, an ideal camera in the place of the LiDAR.

    Returns:
        One row for each box, wherever it lies, in the camera frame of ``calibration``. What a camera would say, the
        image box, is 0; ground truth is fully visible and not truncated.

    Raises:
        ValueError: a shape is wrong, a value is not finite, or a size is not positive.
    """
    boxes = checked_boxes(lidar_boxes if len(lidar_boxes) else np.zeros((0, 7)), f"lidar_boxes of frame {frame_id}")
    location_m, size_m, yaw_rad = calibration.lidar_boxes_to_camera(boxes)
    unknown = np.full(len(boxes), 0.0 if scores is None else UNKNOWN_IN_RESULTS)
    return KittiObjects(
        frame_ids=(frame_id,),
        frame_start=np.array([0, len(boxes)]),
        name=np.asarray(names, dtype=np.str_),
        truncation=unknown,
        occlusion=unknown,
        alpha_rad=wrap_angle(yaw_rad - np.arctan2(location_m[:, 0], location_m[:, 2])),
        bbox_px=np.zeros((len(boxes), 4)),
        size_m=size_m,
        location_m=location_m,
        yaw_rad=yaw_rad,
        score=_column(scores, f"scores of frame {frame_id}", len(boxes), np.nan),
    )


def _column(values: ArrayLike | None, name: str, count: int, default: float) -> Float[ndarray, " box"]:
    """The values of all boxes, or the default for each of them."""
    if values is None:
        return np.full(count, default)
    column = np.asarray(values, dtype=np.float64)
    if column.shape != (count,) or not np.isfinite(column).all():
        raise ValueError(f"{name} must be {count} finite numbers, one for each box, got {column.tolist()}")
    return column


def box_corners(lidar_boxes: Float[ndarray, "box 7"]) -> Float[ndarray, "box 8 3"]:
    """Corners in the LiDAR frame."""
    local = UNIT_CORNERS * lidar_boxes[:, None, 3:6]
    cos, sin = np.cos(lidar_boxes[:, 6:]), np.sin(lidar_boxes[:, 6:])
    x, y, z = local[..., 0], local[..., 1], local[..., 2]
    return np.stack([x * cos - y * sin, x * sin + y * cos, z], axis=-1) + lidar_boxes[:, None, :3]


def image_boxes(
    lidar_boxes: Float[ndarray, "box 7"], calibration: Calibration, image_size: tuple[int, int]
) -> tuple[Float[ndarray, "box 4"], Bool[ndarray, " box"]]:
    """Return enclosing image boxes (u_min, v_min, u_max, v_max), and which have an area inside the image."""
    pixels, depth_m = calibration.lidar_to_image(box_corners(lidar_boxes).reshape(-1, 3))
    in_front = (depth_m > MIN_CORNER_DEPTH_M).reshape(-1, 8, 1)
    pixels = pixels.reshape(-1, 8, 2)
    low = np.where(in_front, pixels, np.inf).min(axis=1)
    high = np.where(in_front, pixels, -np.inf).max(axis=1)
    limit = np.array(image_size) - 1.0
    bbox_px = np.concatenate([low.clip(0, limit), high.clip(0, limit)], axis=1)
    visible = in_front.any(axis=(1, 2)) & (bbox_px[:, 2:] > bbox_px[:, :2]).all(axis=1)
    return bbox_px, visible
