"""Rotated overlap, NMS and points in boxes: numpy and numba, or torch where gradients are needed.

Public names are loaded on first use, so that the numpy functions do not load torch, nor the torch functions numba.
"""

from importlib import import_module
from typing import Any, Final

_MODULE_OF: Final = {
    "nms_bev": "nms",
    "paired_iou_3d": "paired_iou",
    "paired_iou_bev": "paired_iou",
    "pairwise_iou_3d": "rotated_iou",
    "pairwise_iou_bev": "rotated_iou",
    "points_in_boxes": "points",
}
__all__ = sorted(_MODULE_OF)


def __getattr__(name: str) -> Any:
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULE_OF[name]}"), name)


def __dir__() -> list[str]:
    return __all__
