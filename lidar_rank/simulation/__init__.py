"""Simulated KITTI data: scans of a 64-beam scanner, camera images and labels of random street scenes."""

from lidar_rank.simulation.frame import simulate_image
from lidar_rank.simulation.write import simulate_kitti

__all__ = ["simulate_image", "simulate_kitti"]
