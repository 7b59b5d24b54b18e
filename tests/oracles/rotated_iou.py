"""Rotated overlap by Shapely's polygon clipping."""

import numpy as np
import shapely


def polygons(boxes, origin):
    """One Shapely rectangle per box (x, y, length, width, yaw), moved so that ``origin`` (N, 2) is at zero."""
    x, y, length, width, yaw = boxes.T
    along = (
        np.stack([length, -length, -length, length], 1)[..., None]
        / 2
        * np.stack([np.cos(yaw), np.sin(yaw)], 1)[:, None]
    )
    across = (
        np.stack([width, width, -width, -width], 1)[..., None] / 2 * np.stack([-np.sin(yaw), np.cos(yaw)], 1)[:, None]
    )
    return shapely.polygons((np.stack([x, y], 1) - origin)[:, None] + along + across)


def paired_intersection_area(a, b):
    """Intersection of ``a[i]`` and ``b[i]``; the pair is moved to the origin, where float64 is dense."""
    return shapely.area(shapely.intersection(polygons(a, a[:, :2]), polygons(b, a[:, :2])))


def paired_iou_bev(a, b):
    intersection = paired_intersection_area(a, b)
    return intersection / (a[:, 2] * a[:, 3] + b[:, 2] * b[:, 3] - intersection)


def paired_iou_3d(a, b):
    low, high = np.maximum(a[:, 2], b[:, 2]), np.minimum(a[:, 2] + a[:, 5], b[:, 2] + b[:, 5])
    bev = [0, 1, 3, 4, 6]
    intersection = paired_intersection_area(a[:, bev], b[:, bev]) * np.maximum(high - low, 0)
    return intersection / (np.prod(a[:, 3:6], 1) + np.prod(b[:, 3:6], 1) - intersection)
