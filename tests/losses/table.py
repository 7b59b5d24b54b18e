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
    gradient: Callable | None = None  # the oracle of a gradient that the paper sets by hand
    # The gradient is that of the value, so torch's gradcheck applies; otherwise the paper stops a gradient somewhere.
    exact_gradient: bool = True
    iou_gradient: bool = False  # trains the boxes through iou
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

CLASSIFICATION += [
    Row(losses.cross_entropy_loss, losses.BinaryCrossEntropyLoss, oracles.cross_entropy),
    Row(
        losses.cross_entropy_loss,
        losses.BinaryCrossEntropyLoss,
        oracles.cross_entropy,
        {"scope": "image"},
        per_image=True,
    ),
    Row(losses.ohem_loss, losses.OHEMLoss, oracles.ohem, cuts_ties=True, per_image=True),
    Row(
        losses.ohem_loss,
        losses.OHEMLoss,
        oracles.ohem,
        {"ratio": 1.5, "min_negatives": 4},
        cuts_ties=True,
        per_image=True,
    ),
    Row(losses.ohem_loss, losses.OHEMLoss, oracles.ohem, {"min_negatives": 0, "scope": "batch"}, cuts_ties=True),
]


def ranking_rows(function: Callable, module: type, oracle: Callable) -> list[Row]:
    options = [{"mining": mining} for mining in ("none", "ohem", "group")]
    options += [{"surrogate": "logistic", "mining": mining} for mining in ("none", "ohem", "group")]
    options += [{"surrogate": "sigmoid", "mining": "none"}]
    options += [{"score": "logit", "mining": mining} for mining in ("none", "group")]
    options += [{"mining": "none", "scope": "batch"}, {"mining": "ohem", "ratio": 0.7}, {"groups": 2}]
    unweighted = [{"surrogate": name, "mining": "none", "reweight": False} for name in ("exp", "logistic")]
    return [
        Row(
            function,
            module,
            oracle,
            chosen,
            exact_gradient="reweight" in chosen,
            cuts_ties=chosen.get("mining") == "ohem",
            per_image="scope" not in chosen,
        )
        for chosen in options + unweighted
    ]


CLASSIFICATION += [
    *ranking_rows(losses.global_ranking_loss, losses.GlobalRankingLoss, oracles.global_ranking),
    *ranking_rows(losses.class_ranking_loss, losses.ClassRankingLoss, oracles.class_ranking),
    Row(
        losses.global_ranking_loss,
        losses.GlobalRankingLoss,
        oracles.global_ranking,
        {"empty": "virtual"},
        exact_gradient=False,
        per_image=True,
    ),
    Row(
        losses.class_ranking_loss,
        losses.ClassRankingLoss,
        oracles.class_ranking,
        {"class_total": "mean"},
        exact_gradient=False,
        per_image=True,
    ),
    *(
        Row(
            losses.iou_ranking_loss,
            losses.IoURankingLoss,
            oracles.iou_ranking,
            options,
            iou_gradient=True,
            per_image="scope" not in options,
        )
        for options in (
            {},
            {"surrogate": "sigmoid", "alpha": 5.0},
            {"surrogate": "logistic"},
            {"pair_total": "sum"},
            {"scope": "batch"},
        )
    ),
    *(
        Row(
            losses.rank_det_loss,
            losses.RankDetLoss,
            oracles.rank_det,
            options,
            exact_gradient=False,
            iou_gradient=True,
            per_image=True,
        )
        for options in ({}, {"global_weight": 0.5, "class_weight": 2.0, "iou_weight": 3.0, "alpha": 2.0})
    ),
]

CLASSIFICATION += [
    *(
        Row(losses.ghm_c_loss, losses.GHMCLoss, oracles.ghm_c, options, exact_gradient=False)
        for options in ({}, {"norm": "valid", "bins": 12}, {"max_weight": 2.0}, {"density": "exact", "bins": 9})
    ),
    *(
        Row(
            losses.iou_balanced_cls_loss,
            losses.IoUBalancedClsLoss,
            oracles.iou_balanced_cls,
            options,
            exact_gradient=False,
            per_image="scope" in options,
        )
        for options in ({}, {"scope": "image", "exponent": 1.0}, {"base": "ce"})
    ),
]

CLASSIFICATION += [
    Row(
        losses.ap_loss,
        losses.APLoss,
        oracles.ap,
        options,
        oracles.ap_gradient,
        exact_gradient=False,
        per_image="scope" in options,
    )
    for options in ({}, {"interpolate": False, "delta": 0.5}, {"scope": "image"})
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
    *(
        Row(losses.ghm_r_loss, losses.GHMRLoss, oracles.ghm_r, options, exact_gradient=False)
        for options in (
            {},
            {"norm": "valid"},
            {"dimensions": 7, "bins": 4},
            {"density": "exact", "bins": 3},
            {"density": "exact", "bins": 3, "dimensions": 7, "max_weight": 1.5},
        )
    ),
    Row(losses.iou_balanced_loc_loss, losses.IoUBalancedLocLoss, oracles.iou_balanced_loc),
    Row(
        losses.iou_balanced_loc_loss,
        losses.IoUBalancedLocLoss,
        oracles.iou_balanced_loc,
        {"w_loc": "normalised", "exponent": 0.5, "beta": 1.0},
        exact_gradient=False,
    ),
]
