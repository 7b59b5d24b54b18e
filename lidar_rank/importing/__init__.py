"""Labelled scans of annotation tools and other toolkits, turned into a root that training takes.

Public names are loaded on first use.
"""

from importlib import import_module
from typing import Any, Final

FORMATS: Final = {
    "kitti-raw": "KITTI's raw recordings: velodyne_points/data and tracklet_labels.xml",
    "cvat": "exports of a 3D task of CVAT: KITTI Raw, Supervisely Point Cloud or Datumaro",
    "supervisely": "Supervisely's projects of point clouds or of point cloud episodes",
    "sustech": "SUSTechPOINTS: lidar/ and label/",
    "labelcloud": "labelCloud: pointclouds/ and labels/, as centroid_rel, centroid_abs or vertices",
    "openpcdet": "OpenPCDet's custom data set: points/, labels/ and ImageSets/",
}
_MODULE_OF: Final = {"ImportSummary": "write", "format_summary": "write", "import_data": "write"}
__all__ = sorted([*_MODULE_OF, "FORMATS"])


def __getattr__(name: str) -> Any:
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULE_OF[name]}"), name)


def __dir__() -> list[str]:
    return __all__
