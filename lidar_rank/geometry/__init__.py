"""Rotated overlap, NMS and points in boxes: numpy and numba, or torch where gradients are needed.

Public names are loaded on first use, so that the numpy functions do not load torch, nor the torch functions numba.
"""

from typing import Final

from lidar_rank.lazy import load_on_use

_MODULE_OF: Final = {
    "nms_bev": "nms",
    "paired_iou_3d": "paired_iou",
    "paired_iou_bev": "paired_iou",
    "pairwise_iou_3d": "rotated_iou",
    "pairwise_iou_bev": "rotated_iou",
    "points_in_boxes": "points",
}
__all__ = sorted(_MODULE_OF)
__getattr__, __dir__ = load_on_use(__name__, _MODULE_OF)
