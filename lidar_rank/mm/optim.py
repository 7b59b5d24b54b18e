"""Mixed precision without a GPU."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from mmengine.logging import MMLogger
from mmengine.optim import OptimWrapper
from torch import nn

from lidar_rank.mm.registry import OPTIM_WRAPPERS


@OPTIM_WRAPPERS.register_module()
class CPUAmpOptimWrapper(OptimWrapper):
    """Run the forward pass in bfloat16 where the CPU has the operation; the host's ``AmpOptimWrapper`` refuses CPUs.

    bfloat16 has the range of float32, so no loss scaling is needed. A CPU without the operation emulates it, slowly.
    """

    def __init__(self, *args, **kwargs) -> None:
        super().__init__(*args, **kwargs)
        if not multiplies_bfloat16():
            MMLogger.get_current_instance().warning(
                "Mixed precision: this CPU has no arithmetic for bfloat16, so that a step takes several times as long"
                " as without --amp."
            )

    @contextmanager
    def optim_context(self, model: nn.Module) -> Iterator[None]:
        """Autocast the forward pass of one step."""
        with super().optim_context(model), torch.autocast("cpu", dtype=torch.bfloat16):
            yield


def multiplies_bfloat16() -> bool:
    """Whether torch's convolutions and matrix products have code for bfloat16 on this CPU."""
    return torch.backends.mkldnn.is_available() and torch.ops.mkldnn._is_mkldnn_bf16_supported()
