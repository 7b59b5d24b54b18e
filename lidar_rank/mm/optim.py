"""Mixed precision without a GPU."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from mmengine.optim import OptimWrapper
from torch import nn

from lidar_rank.mm.registry import OPTIM_WRAPPERS


@OPTIM_WRAPPERS.register_module()
class CPUAmpOptimWrapper(OptimWrapper):
    """Run the forward in bfloat16 where a CPU op has it; the host's ``AmpOptimWrapper`` refuses CPUs.

    bfloat16 has the range of float32, so that there is no loss scale.
    """

    @contextmanager
    def optim_context(self, model: nn.Module) -> Iterator[None]:
        """Autocast the forward of one step."""
        with super().optim_context(model), torch.autocast("cpu", dtype=torch.bfloat16):
            yield
