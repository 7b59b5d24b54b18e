"""Mixed precision without a GPU."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from mmengine.optim import OptimWrapper
from torch import nn

from lidar_rank.mm.registry import OPTIM_WRAPPERS


@OPTIM_WRAPPERS.register_module()
class CPUAmpOptimWrapper(OptimWrapper):
    """Run the forward pass in bfloat16 where the CPU has the operation; the host's ``AmpOptimWrapper`` refuses CPUs.

    bfloat16 has the range of float32, so no loss scaling is needed.
    """

    @contextmanager
    def optim_context(self, model: nn.Module) -> Iterator[None]:
        """Autocast the forward pass of one step."""
        with super().optim_context(model), torch.autocast("cpu", dtype=torch.bfloat16):
            yield
