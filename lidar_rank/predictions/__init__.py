"""Detections of single scans: the boxes, and the files and pictures that show them."""

from lidar_rank.predictions.detections import Detections
from lidar_rank.predictions.files import draw_detections, write_detections

__all__ = ["Detections", "draw_detections", "write_detections"]
