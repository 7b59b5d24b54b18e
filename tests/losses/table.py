"""The contract table: one row per loss and setting. A public loss without a row fails test_contract.py.

To add a loss, add a row: its names, its oracle in tests/oracles, options, and what the contract lets it do differently.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

from lidar_rank import losses
from tests.oracles import losses as oracles


@dataclass
class Row:
    function: Callable
    module: type
    oracle: Callable
    options: dict = field(default_factory=dict)
    # The gradient is that of the value, so torch's gradcheck applies; otherwise the paper stops a gradient somewhere.
    exact_gradient: bool = True
    reads_iou: bool = False
    cuts_ties: bool = False  # picks a fixed number of entries, and among equal ones by position
    per_image: bool = False  # reduction="none" gives one value per image, whatever else is in the batch

    def __str__(self) -> str:
        return "-".join([self.function.__name__, *(f"{k}={v}" for k, v in self.options.items())])


CLASSIFICATION = [
    Row(losses.sigmoid_focal_loss, losses.SigmoidFocalLoss, oracles.sigmoid_focal),
    Row(
        losses.sigmoid_focal_loss,
        losses.SigmoidFocalLoss,
        oracles.sigmoid_focal,
        {"alpha": 0.6, "gamma": 1.5, "scope": "image"},
        per_image=True,
    ),
    Row(losses.dr_loss, losses.DRLoss, oracles.dr, per_image=True),
    Row(losses.dr_loss, losses.DRLoss, oracles.dr, {"scope": "batch"}),
    Row(losses.dr_loss, losses.DRLoss, oracles.dr, {"detach_q": True}, exact_gradient=False, per_image=True),
    Row(losses.dr_loss, losses.DRLoss, oracles.dr, {"topk_neg": 5}, cuts_ties=True, per_image=True),
    *(
        Row(
            losses.dr_loss,
            losses.DRLoss,
            oracles.dr,
            {"surrogate": surrogate, "ablation": ablation, "margin": 0.3, "neg_temperature": 0.2},
            per_image=True,
        )
        for surrogate in ("logistic", "quadratic", "hinge")
        for ablation in ("none", "neg_only", "all", "worst")
    ),
]

DECAY = {"beta": 0.5, "decay": 0.1, "period": 2}

LOCALIZATION = [
    Row(losses.smooth_l1_loss, losses.SmoothL1Loss, oracles.smooth_l1),
    Row(losses.smooth_l1_loss, losses.SmoothL1Loss, oracles.smooth_l1, {"beta": 1.0}),
    Row(losses.authentic_smooth_l1_loss, losses.AuthenticSmoothL1Loss, oracles.authentic_smooth_l1),
    Row(losses.balanced_l1_loss, losses.BalancedL1Loss, oracles.balanced_l1),
    Row(losses.balanced_l1_loss, losses.BalancedL1Loss, oracles.balanced_l1, {"beta": 0.4, "alpha": 0.7}),
    *(
        Row(
            losses.decaying_smooth_l1_loss,
            losses.DecayingSmoothL1Loss,
            oracles.decaying_smooth_l1,
            {"step": step, "mode": mode, **DECAY},
        )
        for step, mode in [(0, "floor"), (7, "floor"), (1000, "floor"), (7, "mod")]
    ),
]
