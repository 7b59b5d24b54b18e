"""KITTI files, calibration, preparation and simulation.

Public names are loaded on first use: reading labels waits neither for numba nor for Open3D.
"""

from importlib import import_module
from typing import Any, Final

_MODULE_OF: Final = {
    "Calibration": "calibration",
    "KittiObjects": "kitti_labels",
    "PreparationSummary": "preparation",
    "prepare_kitti": "preparation",
    "read_calibration": "calibration",
    "read_kitti_labels": "kitti_labels",
    "read_kitti_results": "kitti_labels",
    "simulate_image": "simulation.frame",
    "simulate_kitti": "simulation.write",
    "write_kitti_results": "kitti_labels",
}
__all__ = sorted(_MODULE_OF)


def __getattr__(name: str) -> Any:
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULE_OF[name]}"), name)


def __dir__() -> list[str]:
    return __all__
