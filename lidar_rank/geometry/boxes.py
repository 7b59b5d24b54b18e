"""Rectangles around boxes (x, y, z_bottom, length, width, height, yaw) in the BEV plane, in numpy."""

import numpy as np
from jaxtyping import Float


def nearest_bev(boxes: Float[np.ndarray, "box 7"]) -> Float[np.ndarray, "box 4"]:
    """Axis-aligned (x_min, y_min, x_max, y_max) of each box turned to the nearest multiple of 90 degrees.

    The arithmetic keeps the dtype of ``boxes`` and the order of operations of mmdet3d's ``nearest_bev``: float32 boxes
    give its values bit for bit.
    """
    centre, yaw = boxes[:, :2], boxes[:, 6]
    across = np.abs(yaw - np.floor(yaw / np.pi + 0.5) * np.pi) > np.pi / 4
    half_size = np.where(across[:, None], boxes[:, [4, 3]], boxes[:, [3, 4]]) / 2
    return np.concatenate([centre - half_size, centre + half_size], axis=1)


def bev_bounds(boxes: Float[np.ndarray, "box 7"]) -> Float[np.ndarray, "box 4"]:
    """Axis-aligned (x_min, y_min, x_max, y_max) around the rotated footprint of each box."""
    centre, length, width = boxes[:, :2], boxes[:, 3], boxes[:, 4]
    cos, sin = np.abs(np.cos(boxes[:, 6])), np.abs(np.sin(boxes[:, 6]))
    half_size = np.stack([length * cos + width * sin, length * sin + width * cos], axis=1) / 2
    return np.concatenate([centre - half_size, centre + half_size], axis=1)
