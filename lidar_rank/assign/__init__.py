"""Anchors and objects in, labels and matches out."""

from lidar_rank.assign.anchors import AnchorIndex, Assignment, assign_anchors

__all__ = ["AnchorIndex", "Assignment", "assign_anchors"]
