"""Diagnostics of trained detectors, computed from scores, labels and overlaps."""

from lidar_rank.analysis.correlation import score_iou_correlation
from lidar_rank.analysis.distributions import Distributions, count_distributions
from lidar_rank.analysis.report import Diagnosis, format_runs
from lidar_rank.analysis.reverse_pairs import PairCount, ReversePairs, count_reverse_pairs

__all__ = [
    "Diagnosis",
    "Distributions",
    "PairCount",
    "ReversePairs",
    "count_distributions",
    "count_reverse_pairs",
    "format_runs",
    "score_iou_correlation",
]
