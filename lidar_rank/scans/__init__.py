"""Scans of any sensor: reading the common point cloud files, and turning scans into the frame of KITTI's.

Public names are loaded on first use.
"""

from importlib import import_module
from typing import Any, Final

_MODULE_OF: Final = {"SensorFrame": "frame", "list_scans": "reading", "read_scan": "reading"}
__all__ = sorted(_MODULE_OF)


def __getattr__(name: str) -> Any:
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULE_OF[name]}"), name)


def __dir__() -> list[str]:
    return __all__
