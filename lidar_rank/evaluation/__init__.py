"""KITTI average precision, by difficulty or by distance: matching, decisions, precision and recall, AP."""

from lidar_rank.evaluation.distance import evaluate_by_distance
from lidar_rank.evaluation.folders import evaluate_folders
from lidar_rank.evaluation.kitti import KittiResult, evaluate_kitti, format_table, match_class
from lidar_rank.evaluation.matching import Decision, Decisions
from lidar_rank.evaluation.overlaps import compute_overlaps
from lidar_rank.evaluation.rules import METRICS, MIN_OVERLAP
from lidar_rank.kitti.difficulty import DIFFICULTIES

__all__ = [
    "DIFFICULTIES",
    "METRICS",
    "MIN_OVERLAP",
    "Decision",
    "Decisions",
    "KittiResult",
    "compute_overlaps",
    "evaluate_by_distance",
    "evaluate_folders",
    "evaluate_kitti",
    "format_table",
    "match_class",
]
