"""KITTI-format data: label and result files, calibration, scans, difficulty levels, and preparation for training.

Public names are loaded on first use, so that reading labels does not wait for numba.
"""

from importlib import import_module
from typing import Any, Final

_MODULE_OF: Final = {
    "Calibration": "calibration",
    "KittiObjects": "labels",
    "PreparationSummary": "preparation",
    "join_frames": "labels",
    "objects_from_lidar": "predictions",
    "prepare_kitti": "preparation",
    "read_calibration": "calibration",
    "read_kitti_labels": "labels",
    "read_kitti_results": "labels",
    "write_kitti_results": "labels",
}
__all__ = sorted(_MODULE_OF)


def __getattr__(name: str) -> Any:
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULE_OF[name]}"), name)


def __dir__() -> list[str]:
    return __all__
