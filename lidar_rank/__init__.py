"""lidar_rank: ranking and balanced losses for LiDAR and image detectors, on top of mmdet3d.

Detection in a scan of your own takes four lines::

    import lidar_rank
    detector = lidar_rank.load_detector("second-car")
    points = lidar_rank.read_scan("scan.bin")
    print(lidar_rank.predict(detector, points).format_table())
"""

from importlib import import_module
from typing import Any

__version__ = "0.1.0"

# Loaded on first use: losses and evaluation wait for none of it.
_MODULE_OF = {
    "SensorFrame": "lidar_rank.scans",
    "draw_detections": "lidar_rank.predictions",
    "load_detector": "lidar_rank.mm.predicting",
    "predict": "lidar_rank.mm.predicting",
    "read_scan": "lidar_rank.scans",
}
__all__ = sorted(_MODULE_OF)


def __getattr__(name: str) -> Any:
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_MODULE_OF[name]), name)


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
