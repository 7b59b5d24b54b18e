"""KITTI average precision: matching, decisions, precision and recall, AP."""

from lidar_rank.evaluation.kitti import KittiResult, evaluate_kitti, format_table

__all__ = ["KittiResult", "evaluate_kitti", "format_table"]
