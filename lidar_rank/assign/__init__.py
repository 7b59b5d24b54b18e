"""Anchors and objects in, labels and matches out."""

from lidar_rank.assign.anchors import AnchorIndex, Assignment, assign_anchors
from lidar_rank.assign.occupancy import OccupiedAnchors

__all__ = ["AnchorIndex", "Assignment", "OccupiedAnchors", "assign_anchors"]
