"""The loss core: ranking and balanced losses in plain torch, behind one call.

``loss(logits, labels, *, iou=None, level=None)`` for classification, ``loss(pred, target, *, iou=None)`` for
localization. Each docstring has the formula, its source and what every option does.
"""

from lidar_rank.losses.ap import APLoss, ap_loss
from lidar_rank.losses.blend import BlendLoss
from lidar_rank.losses.cross_entropy import BinaryCrossEntropyLoss, cross_entropy_loss
from lidar_rank.losses.dr import DRLoss, dr_effective_negatives, dr_loss, temperature_from_h
from lidar_rank.losses.flat import FlatLoss
from lidar_rank.losses.focal import SigmoidFocalLoss, sigmoid_focal_loss
from lidar_rank.losses.ghm import GHMCLoss, GHMRLoss, ghm_c_loss, ghm_r_loss
from lidar_rank.losses.iou_balanced import (
    IoUBalancedClsLoss,
    IoUBalancedLocLoss,
    iou_balanced_cls_loss,
    iou_balanced_loc_loss,
)
from lidar_rank.losses.l1 import (
    AuthenticSmoothL1Loss,
    BalancedL1Loss,
    DecayingSmoothL1Loss,
    SmoothL1Loss,
    authentic_smooth_l1_loss,
    balanced_l1_loss,
    decaying_smooth_l1_loss,
    smooth_l1_loss,
)
from lidar_rank.losses.ohem import OHEMLoss, ohem_loss
from lidar_rank.losses.rankdet import (
    ClassRankingLoss,
    GlobalRankingLoss,
    IoURankingLoss,
    RankDetLoss,
    class_ranking_loss,
    global_ranking_loss,
    iou_ranking_loss,
    rank_det_loss,
)

__all__ = [
    "APLoss",
    "AuthenticSmoothL1Loss",
    "BalancedL1Loss",
    "BinaryCrossEntropyLoss",
    "BlendLoss",
    "ClassRankingLoss",
    "DRLoss",
    "DecayingSmoothL1Loss",
    "FlatLoss",
    "GHMCLoss",
    "GHMRLoss",
    "GlobalRankingLoss",
    "IoUBalancedClsLoss",
    "IoUBalancedLocLoss",
    "IoURankingLoss",
    "OHEMLoss",
    "RankDetLoss",
    "SigmoidFocalLoss",
    "SmoothL1Loss",
    "ap_loss",
    "authentic_smooth_l1_loss",
    "balanced_l1_loss",
    "class_ranking_loss",
    "cross_entropy_loss",
    "decaying_smooth_l1_loss",
    "dr_effective_negatives",
    "dr_loss",
    "ghm_c_loss",
    "ghm_r_loss",
    "global_ranking_loss",
    "iou_balanced_cls_loss",
    "iou_balanced_loc_loss",
    "iou_ranking_loss",
    "ohem_loss",
    "rank_det_loss",
    "sigmoid_focal_loss",
    "smooth_l1_loss",
    "temperature_from_h",
]
