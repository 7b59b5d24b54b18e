"""The loss core in the registry: every module that ``lidar_rank.losses`` exports, under its own name.

Losses that are made of losses, such as :class:`lidar_rank.losses.BlendLoss`, take these as configs too.
"""

from typing import Any

from torch import nn

from lidar_rank import losses
from lidar_rank.mm.registry import MODELS


def _built(value: Any) -> Any:
    if isinstance(value, list | tuple):
        return [_built(part) for part in value]
    return MODELS.build(value) if isinstance(value, dict) else value


class _OfConfigs(nn.Module):
    """Builds the losses that a loss is made of; stands before it among a class's bases."""

    def __init__(self, *args, **kwargs) -> None:
        super().__init__(*map(_built, args), **{name: _built(value) for name, value in kwargs.items()})


for _loss in losses.CLASSIFICATION_LOSSES + losses.LOCALIZATION_LOSSES:
    MODELS.register_module(module=_loss)
for _loss in losses.COMPOSITE_LOSSES:
    MODELS.register_module(module=type(_loss.__name__, (_OfConfigs, _loss), {"__doc__": _loss.__doc__}))
