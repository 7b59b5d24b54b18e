"""The contract table: rows of a loss and its settings. A public loss without a row fails test_contract.py.

To add a loss, add its rows: the module, its oracle, options, and what the contract lets it do differently. Every test
of test_contract.py, test_heads.py and test_distributed.py then runs on them. An oracle is the paper's formula in plain
Python, called as those in tests/oracles/losses.py are; write it there, or beside the rows if it is short, with ``*_``
for the inputs that it does not read.
"""

import functools
import inspect
from collections.abc import Callable
from dataclasses import dataclass, field

from lidar_rank import losses
from lidar_rank.losses._options import options_of
from tests.losses.problems import decode
from tests.oracles import losses as oracles


@dataclass
class Row:
    module: type
    oracle: Callable
    options: dict = field(default_factory=dict)
    gradient: Callable | None = None  # the oracle of a gradient that the paper sets by hand
    # The gradient is that of the value, so torch's gradcheck applies; otherwise the paper stops a gradient somewhere.
    exact_gradient: bool = True
    iou_gradient: bool = False  # trains the boxes through iou
    cuts_ties: bool = False  # picks a fixed number of entries, and among equal ones by position
    reads_boxes: bool = False  # of a localization loss: decoded boxes, which every call of the tests then gets
    # Why two processes do not equal one on the joined batch. They equal the mean over their batches that count.
    own_batch: str = ""

    def __str__(self) -> str:
        return "-".join([self.function.__name__, *(f"{k}={v}" for k, v in self.options.items())])

    @property
    def function(self) -> Callable:
        return with_boxes(self.module.function) if self.reads_boxes else self.module.function

    @property
    def per_image(self) -> bool:
        """Does each image have a value of its own, whatever else is in the batch?"""
        scope = inspect.signature(self.function).parameters.get("scope")
        return scope is not None and self.options.get("scope", scope.default) == "image"

    def make(self, **options):
        """Return the module with these options and the row's, less what is an input of the function."""
        known = options_of(self.function)
        module = self.module(**{name: value for name, value in self.options.items() if name in known} | options)
        if self.reads_boxes:
            module.forward = with_boxes(module.forward)
        return module


def with_boxes(call: Callable) -> Callable:
    """Add the boxes that a head would decode to the call of a localization loss."""

    @functools.wraps(call)
    def decoding(pred, target, **named):
        return call(pred, target, boxes=(decode(pred), decode(target)), **named)

    return decoding


def rows(module: type, oracle: Callable, *settings: dict, **allowed) -> list[Row]:
    return [Row(module, oracle, options, **allowed) for options in settings]


RANKS_ITS_OWN = "scope='batch' ranks the rank's own images: scores of other ranks are not gathered"
COUNTS_ITS_OWN = "density='exact' counts the rank's own gradient norms: those of other ranks are not gathered"

CLASSIFICATION = [
    *rows(
        losses.SigmoidFocalLoss,
        oracles.sigmoid_focal,
        {},
        {"alpha": 0.6, "gamma": 1.5, "scope": "image"},
        {"gamma": 0.5},
    ),
    *rows(losses.BinaryCrossEntropyLoss, oracles.cross_entropy, {}, {"scope": "image"}),
    *rows(losses.OHEMLoss, oracles.ohem, {}, {"ratio": 1.5, "min_negatives": 4}, {"min_negatives": 0}, cuts_ties=True),
    *rows(
        losses.OHEMLoss,
        oracles.ohem,
        {"min_negatives": 4, "scope": "batch"},
        cuts_ties=True,
        own_batch=RANKS_ITS_OWN,
    ),
]

CLASSIFICATION += [
    *rows(losses.DRLoss, oracles.dr, {}),
    *rows(losses.DRLoss, oracles.dr, {"scope": "batch"}, own_batch=RANKS_ITS_OWN),
    *rows(losses.DRLoss, oracles.dr, {"detach_q": True}, exact_gradient=False),
    *rows(losses.DRLoss, oracles.dr, {"topk_neg": 5}, cuts_ties=True),
    *rows(
        losses.DRLoss,
        oracles.dr,
        *(
            {"surrogate": surrogate, "ablation": ablation, "margin": 0.3, "neg_temperature": 0.2}
            for surrogate in ("logistic", "quadratic", "hinge")
            for ablation in ("none", "neg_only", "all", "worst")
        ),
    ),
]

for module, oracle in [
    (losses.GlobalRankingLoss, oracles.global_ranking),
    (losses.ClassRankingLoss, oracles.class_ranking),
]:
    CLASSIFICATION += [
        *rows(
            module,
            oracle,
            *({"surrogate": name, "mining": mining} for name in ("exp", "logistic") for mining in ("none", "group")),
            {"surrogate": "sigmoid", "mining": "none"},
            {"score": "logit", "mining": "none"},
            {"score": "logit", "mining": "group"},
            {"groups": 2},
            exact_gradient=False,
        ),
        *rows(
            module,
            oracle,
            {"mining": "ohem"},
            {"surrogate": "logistic", "mining": "ohem"},
            {"mining": "ohem", "ratio": 0.7},
            exact_gradient=False,
            cuts_ties=True,
        ),
        *rows(module, oracle, {"mining": "none", "scope": "batch"}, exact_gradient=False, own_batch=RANKS_ITS_OWN),
        *rows(
            module,
            oracle,
            {"surrogate": "exp", "mining": "none", "reweight": False},
            {"surrogate": "logistic", "mining": "none", "reweight": False},
        ),
    ]

CLASSIFICATION += [
    *rows(losses.GlobalRankingLoss, oracles.global_ranking, {"empty": "virtual"}, exact_gradient=False),
    *rows(losses.ClassRankingLoss, oracles.class_ranking, {"class_total": "mean"}, exact_gradient=False),
    *rows(
        losses.IoURankingLoss,
        oracles.iou_ranking,
        {},
        {"surrogate": "sigmoid", "alpha": 5.0},
        {"surrogate": "logistic"},
        {"pair_total": "sum"},
        iou_gradient=True,
    ),
    *rows(losses.IoURankingLoss, oracles.iou_ranking, {"scope": "batch"}, iou_gradient=True, own_batch=RANKS_ITS_OWN),
    *rows(
        losses.RankDetLoss,
        oracles.rank_det,
        {},
        {"global_weight": 0.5, "class_weight": 2.0, "iou_weight": 3.0, "alpha": 2.0},
        exact_gradient=False,
        iou_gradient=True,
    ),
    *rows(
        losses.GHMCLoss,
        oracles.ghm_c,
        {},
        {"norm": "valid", "bins": 12},
        {"max_weight": 2.0},
        exact_gradient=False,
    ),
    *rows(
        losses.GHMCLoss, oracles.ghm_c, {"density": "exact", "bins": 9}, exact_gradient=False, own_batch=COUNTS_ITS_OWN
    ),
    *rows(
        losses.IoUBalancedClsLoss,
        oracles.iou_balanced_cls,
        {},
        {"scope": "image", "exponent": 1.0},
        {"base": "ce"},
        {"gamma": 0.5},
        exact_gradient=False,
    ),
    *rows(
        losses.APLoss,
        oracles.ap,
        {},
        {"interpolate": False, "delta": 0.5},
        gradient=oracles.ap_gradient,
        exact_gradient=False,
        own_batch=RANKS_ITS_OWN,
    ),
    *rows(losses.APLoss, oracles.ap, {"scope": "image"}, gradient=oracles.ap_gradient, exact_gradient=False),
]

CLASSIFICATION += [
    *rows(
        losses.QualityFocalLoss,
        oracles.quality_focal,
        {},
        {"target": "rect", "min_quality": 0.05, "scope": "image"},
        {"beta": 0.5},
    ),
    *rows(
        losses.VarifocalLoss,
        oracles.varifocal,
        {},
        {"target": "rect", "alpha": 0.3, "scope": "image"},
        {"iou_weighted": False, "min_quality": 0.3, "gamma": 0.5},
    ),
]

for module, oracle, by_hand, settings, allowed in [
    (
        losses.RankSortLoss,
        oracles.rank_sort,
        oracles.rank_sort_gradient,
        ({}, {"delta": 0.0}, {"delta": 1.5, "rank_weight": 0.5, "sort_weight": 2.0}),
        {},
    ),
    (
        losses.ALRPLoss,
        oracles.alrp,
        oracles.alrp_gradient,
        ({}, {"delta": 0.0}, {"delta": 0.5, "tau": 0.3, "loc_weight": 2.0}),
        {"iou_gradient": True},
    ),
]:
    set_by_hand = {"gradient": by_hand, "exact_gradient": False, **allowed}
    CLASSIFICATION += rows(module, oracle, *settings, own_batch=RANKS_ITS_OWN, **set_by_hand)
    CLASSIFICATION += rows(module, oracle, {"scope": "image"}, **set_by_hand)

CLASSIFICATION += [
    *rows(losses.ConcordanceLoss, oracles.concordance, {}),
    *rows(losses.ConcordanceLoss, oracles.concordance, {"scope": "batch"}, own_batch=RANKS_ITS_OWN),
]

DECAY = {"beta": 0.5, "decay": 0.1, "period": 2}

LOCALIZATION = [
    *rows(losses.SmoothL1Loss, oracles.smooth_l1, {}, {"beta": 1.0}),
    *rows(losses.AuthenticSmoothL1Loss, oracles.authentic_smooth_l1, {}),
    *rows(losses.BalancedL1Loss, oracles.balanced_l1, {}, {"beta": 0.4, "alpha": 0.7}),
    *rows(
        losses.DecayingSmoothL1Loss,
        oracles.decaying_smooth_l1,
        *({"step": step, **DECAY} for step in (0, 7, 1000)),
        {"step": 7, "mode": "mod", **DECAY},
    ),
    *rows(
        losses.GHMRLoss,
        oracles.ghm_r,
        {},
        {"norm": "valid"},
        {"dimensions": 7, "bins": 4},
        exact_gradient=False,
    ),
    *rows(
        losses.GHMRLoss,
        oracles.ghm_r,
        {"density": "exact", "bins": 3},
        {"density": "exact", "bins": 3, "dimensions": 7, "max_weight": 1.5},
        exact_gradient=False,
        own_batch=COUNTS_ITS_OWN,
    ),
    *rows(
        losses.RotatedIoULoss,
        oracles.rotated_iou,
        *({"kind": kind} for kind in ("iou", "giou", "diou", "odiou")),
        {"kind": "giou", "enclosing": "axes"},
        {"kind": "odiou", "enclosing": "axes", "yaw_weight": 0.5},
        reads_boxes=True,
    ),
    *rows(losses.IoUBalancedLocLoss, oracles.iou_balanced_loc, {}),
    *rows(
        losses.IoUBalancedLocLoss,
        oracles.iou_balanced_loc,
        {"w_loc": "normalised", "exponent": 0.5, "beta": 1.0},
        exact_gradient=False,
    ),
]
