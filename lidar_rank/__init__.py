"""lidar_rank: ranking and balanced losses for LiDAR and image detectors, on top of mmdet3d."""

__version__ = "0.1.0"
