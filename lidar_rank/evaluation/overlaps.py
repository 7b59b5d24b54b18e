"""Overlap of detections with the objects and DontCare areas of their frame: image, bird's eye view and 3D."""

from dataclasses import dataclass

import numpy as np
from numpy import ndarray

from lidar_rank.evaluation.rules import is_named
from lidar_rank.kernels.rotated_iou import paired_intersection_area
from lidar_rank.kitti.labels import KittiObjects
from lidar_rank.shapes import Float64, Int64


@dataclass(frozen=True, eq=False)
class Overlaps:
    """Pairs of an object and a detection that overlap at all; columns are bbox, bev, 3d.

    Attributes:
        pair_object: Sorted.
        pair_detection: Sorted among the pairs of an object.
        iou: In [0, 1].
        similarity: Orientation similarity of each pair, (1 + cos(difference of alpha)) / 2.
        in_dontcare: Largest share of each detection that one DontCare area covers.
    """

    pair_object: Int64[ndarray, " pair"]
    pair_detection: Int64[ndarray, " pair"]
    iou: Float64[ndarray, "pair 3"]
    similarity: Float64[ndarray, " pair"]
    in_dontcare: Float64[ndarray, "detection 3"]


def compute_overlaps(objects: KittiObjects, detections: KittiObjects) -> Overlaps:
    """Overlap all objects with all detections of their frame."""
    pair_object, pair_detection = _pairs_in_frames(objects.frame_start, detections.frame_start)
    intersection = _intersections(objects, detections, pair_object, pair_detection)
    touching = (intersection > 0).any(axis=1)
    pair_object, pair_detection, intersection = pair_object[touching], pair_detection[touching], intersection[touching]
    detection_size = _sizes(detections)[pair_detection]
    union = _sizes(objects)[pair_object] + detection_size - intersection
    dontcare = is_named(objects, "DontCare")[pair_object]
    in_dontcare = np.zeros((len(detections.name), 3))
    covered = _ratio(intersection[dontcare], detection_size[dontcare])
    np.maximum.at(in_dontcare, pair_detection[dontcare], covered)
    alpha_difference = objects.alpha_rad[pair_object] - detections.alpha_rad[pair_detection]
    return Overlaps(
        pair_object=pair_object[~dontcare],
        pair_detection=pair_detection[~dontcare],
        iou=_ratio(intersection, union)[~dontcare],
        similarity=(1 + np.cos(alpha_difference[~dontcare])) / 2,
        in_dontcare=in_dontcare,
    )


def _pairs_in_frames(
    object_start: Int64[ndarray, " bound"], detection_start: Int64[ndarray, " bound"]
) -> tuple[Int64[ndarray, " pair"], Int64[ndarray, " pair"]]:
    """Every object with every detection of its frame, sorted by object, then by detection."""
    frame_of_object = np.repeat(np.arange(len(object_start) - 1), np.diff(object_start))
    num_detections = np.diff(detection_start)[frame_of_object]
    pair_object = np.repeat(np.arange(len(frame_of_object)), num_detections)
    first_pair = np.cumsum(num_detections) - num_detections
    offset = detection_start[frame_of_object] - first_pair
    return pair_object, np.arange(len(pair_object)) + offset[pair_object]


def _intersections(
    objects: KittiObjects,
    detections: KittiObjects,
    pair_object: Int64[ndarray, " pair"],
    pair_detection: Int64[ndarray, " pair"],
) -> Float64[ndarray, "pair 3"]:
    """Area in the image, area from above, volume."""
    object_box, detection_box = objects.bbox_px[pair_object], detections.bbox_px[pair_detection]
    overlap_px = np.minimum(object_box[:, 2:], detection_box[:, 2:]) - np.maximum(
        object_box[:, :2], detection_box[:, :2]
    )
    area_px = np.prod(np.maximum(overlap_px, 0), axis=1)
    area_m2 = paired_intersection_area(_footprints(objects), _footprints(detections), pair_object, pair_detection)
    # Heights relative to the object's: a box overlaps itself by exactly its height. The camera's y points down.
    rise_m = detections.location_m[pair_detection, 1] - objects.location_m[pair_object, 1]
    top_m = np.maximum(-objects.size_m[pair_object, 0], rise_m - detections.size_m[pair_detection, 0])
    height_m = np.maximum(np.minimum(rise_m, 0) - top_m, 0)
    return np.column_stack([area_px, area_m2, area_m2 * height_m])


def _footprints(table: KittiObjects) -> Float64[ndarray, "object 5"]:
    """(x, z, length, width, angle from x to z); sizes of -1, which mean unknown, count as 1 like in the benchmark."""
    length, width = np.abs(table.size_m[:, 2]), np.abs(table.size_m[:, 1])
    return np.column_stack([table.location_m[:, 0], table.location_m[:, 2], length, width, -table.yaw_rad])


def _sizes(table: KittiObjects) -> Float64[ndarray, "object 3"]:
    """Area in the image, area from above, volume."""
    area_px = np.prod(table.bbox_px[:, 2:] - table.bbox_px[:, :2], axis=1)
    area_m2 = np.abs(table.size_m[:, 1] * table.size_m[:, 2])
    return np.column_stack([area_px, area_m2, area_m2 * np.abs(table.size_m[:, 0])])


def _ratio(part: Float64[ndarray, "pair 3"], whole: Float64[ndarray, "pair 3"]) -> Float64[ndarray, "pair 3"]:
    return np.divide(part, whole, out=np.zeros_like(part), where=part > 0)
