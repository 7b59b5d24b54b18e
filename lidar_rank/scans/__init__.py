"""Scans of any sensor: reading point cloud files, the frame of KITTI's scans, and why a network finds little in others.

Public names are loaded on first use.
"""

from typing import Final

from lidar_rank.lazy import load_on_use

_MODULE_OF: Final = {
    "Finding": "doctor",
    "SensorFrame": "frame",
    "check_names_differ": "reading",
    "examine_boxes": "doctor",
    "examine_scans": "doctor",
    "find_ground": "ground",
    "list_scans": "reading",
    "measure_scan": "doctor",
    "read_scan": "reading",
}
__all__ = sorted(_MODULE_OF)
__getattr__, __dir__ = load_on_use(__name__, _MODULE_OF)
