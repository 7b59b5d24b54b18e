"""KITTI-format data: label and result files, calibration, scans, difficulty levels, and preparation for training.

Public names are loaded on first use, so that reading labels does not wait for numba.
"""

from typing import Final

from lidar_rank.lazy import load_on_use

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
__getattr__, __dir__ = load_on_use(__name__, _MODULE_OF)
