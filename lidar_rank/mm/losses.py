"""The loss core in the registry: every module that ``lidar_rank.losses`` exports, under its own name."""

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from lidar_rank import losses
from lidar_rank.mm.registry import MODELS


def _built(value: nn.Module | dict) -> nn.Module:
    return MODELS.build(value) if isinstance(value, dict) else value


class BlendLoss(losses.BlendLoss):
    """:class:`lidar_rank.losses.BlendLoss` of two configs; :class:`lidar_rank.mm.hooks.WarmUpHook` moves it."""

    def __init__(self, start: nn.Module | dict, end: nn.Module | dict) -> None:
        super().__init__(_built(start), _built(end))


class FlatLoss(losses.FlatLoss):
    """:class:`lidar_rank.losses.FlatLoss` of a config."""

    def __init__(self, loss: nn.Module | dict, use_sigmoid: bool = True) -> None:
        super().__init__(_built(loss), use_sigmoid)


@MODELS.register_module()
class SumLoss(nn.Module):
    """Sum of losses with one call, each with its own ``loss_weight``.

    Args:
        losses: Modules or their configs.
    """

    def __init__(self, losses: Sequence[nn.Module | dict]) -> None:
        super().__init__()
        self.losses = nn.ModuleList(_built(loss) for loss in losses)

    def forward(self, *inputs: Tensor, **named: Any) -> Tensor:
        """Return the sum of the losses of the inputs that all take."""
        return sum(loss(*inputs, **named) for loss in self.losses)


_OF_CONFIGS = {"BlendLoss": BlendLoss, "FlatLoss": FlatLoss}

for _name in losses.__all__:
    _member = getattr(losses, _name)
    if isinstance(_member, type) and issubclass(_member, nn.Module):
        MODELS.register_module(name=_name, module=_OF_CONFIGS.get(_name, _member))
