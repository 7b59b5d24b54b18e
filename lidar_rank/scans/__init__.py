"""Scans of any sensor: reading point cloud files, the frame of KITTI's scans, and why a network finds little in others.

Public names are loaded on first use.
"""

from importlib import import_module
from typing import Any, Final

_MODULE_OF: Final = {
    "Finding": "doctor",
    "SensorFrame": "frame",
    "examine_boxes": "doctor",
    "examine_scans": "doctor",
    "find_ground": "ground",
    "list_scans": "reading",
    "measure_scan": "doctor",
    "read_scan": "reading",
}
__all__ = sorted(_MODULE_OF)


def __getattr__(name: str) -> Any:
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULE_OF[name]}"), name)


def __dir__() -> list[str]:
    return __all__
