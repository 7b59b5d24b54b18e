"""The loss core: ranking and balanced losses in plain torch, behind one call.

``loss(logits, labels, *, iou=None, level=None)`` for classification, ``loss(pred, target, *, iou=None)`` for
localization; see docs/losses.md.
"""

from lidar_rank.losses.dr import DRLoss, dr_effective_negatives, dr_loss, temperature_from_h
from lidar_rank.losses.focal import SigmoidFocalLoss, sigmoid_focal_loss
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

__all__ = [
    "AuthenticSmoothL1Loss",
    "BalancedL1Loss",
    "DRLoss",
    "DecayingSmoothL1Loss",
    "SigmoidFocalLoss",
    "SmoothL1Loss",
    "authentic_smooth_l1_loss",
    "balanced_l1_loss",
    "decaying_smooth_l1_loss",
    "dr_effective_negatives",
    "dr_loss",
    "sigmoid_focal_loss",
    "smooth_l1_loss",
    "temperature_from_h",
]
