"""The loss core: ranking and balanced losses in plain torch, behind one call.

``loss(logits, labels, *, iou=None, level=None)`` for classification, ``loss(pred, target, *, iou=None, boxes=None)``
for localization. Each docstring has the formula, its source and what every option does.

Each file's ``__all__`` names what is public in it, and one line below makes that public here.
"""

# ruff: noqa: F403

from torch import nn

from lidar_rank.losses import _common
from lidar_rank.losses.alrp import *
from lidar_rank.losses.ap import *
from lidar_rank.losses.composite import *
from lidar_rank.losses.concordance import *
from lidar_rank.losses.cross_entropy import *
from lidar_rank.losses.dr import *
from lidar_rank.losses.flat import *
from lidar_rank.losses.focal import *
from lidar_rank.losses.ghm import *
from lidar_rank.losses.iou_balanced import *
from lidar_rank.losses.l1 import *
from lidar_rank.losses.ohem import *
from lidar_rank.losses.quality import *
from lidar_rank.losses.rank_sort import *
from lidar_rank.losses.rankdet import *
from lidar_rank.losses.rotated_iou import *

_PUBLIC = {name: value for name, value in globals().items() if callable(value) and not name.startswith("_")}
_MODULES = [value for value in _PUBLIC.values() if isinstance(value, type) and issubclass(value, nn.Module)]

CLASSIFICATION_LOSSES = tuple(cls for cls in _MODULES if issubclass(cls, _common.ClassificationLoss))
"""The modules of the losses ``(logits, labels, *, iou=None, level=None)``."""

LOCALIZATION_LOSSES = tuple(cls for cls in _MODULES if issubclass(cls, _common.LocalizationLoss))
"""The modules of the losses ``(pred, target, *, iou=None, boxes=None)``."""

COMPOSITE_LOSSES = tuple(cls for cls in _MODULES if not issubclass(cls, _common.FunctionalLoss))
"""The modules that are made of other losses."""

__all__ = [*_PUBLIC, "CLASSIFICATION_LOSSES", "COMPOSITE_LOSSES", "LOCALIZATION_LOSSES"]
