"""lidar_rank: ranking and balanced losses for LiDAR and image detectors, on top of mmdet3d.

Detection in a scan of your own takes four lines::

    import lidar_rank
    detector = lidar_rank.load_detector("second-car")
    points = lidar_rank.read_scan("scan.bin")
    print(lidar_rank.predict(detector, points).format_table())
"""

from lidar_rank.lazy import load_on_use

__version__ = "0.1.0"

# Loaded on first use: losses and evaluation wait for none of it.
_MODULE_OF = {
    "SensorFrame": "scans",
    "draw_detections": "predictions",
    "load_detector": "mm.predicting",
    "predict": "mm.predicting",
    "read_scan": "scans",
}
__all__ = sorted(_MODULE_OF)
__getattr__, __dir__ = load_on_use(__name__, _MODULE_OF)
