"""The loss core in the registry: every module that ``lidar_rank.losses`` exports, under its own name."""

from torch import nn

from lidar_rank import losses
from lidar_rank.mm.registry import MODELS

for _name in losses.__all__:
    _member = getattr(losses, _name)
    if isinstance(_member, type) and issubclass(_member, nn.Module):
        MODELS.register_module(module=_member)
