"""Simulated KITTI data: scans of a 64-beam scanner, camera images and labels of random street scenes.

Public names are loaded on first use. :func:`simulate_kitti` loads Open3D only in the processes that make frames,
because loading it takes seconds.
"""

from importlib import import_module
from typing import Any, Final

_MODULE_OF: Final = {"simulate_image": "frame", "simulate_kitti": "write"}
__all__ = sorted(_MODULE_OF)


def __getattr__(name: str) -> Any:
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULE_OF[name]}"), name)


def __dir__() -> list[str]:
    return __all__
