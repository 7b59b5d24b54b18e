"""What depends on the device of a tensor: the way that the work is done, and how a condition is checked."""

from collections.abc import Callable

import torch
from torch import Tensor

# torch refuses to queue an assertion with a longer message.
_LONGEST_MESSAGE = 250


def on_cpu(tensor: Tensor) -> bool:
    """Whether numba's kernels can work on the tensor, and reading a value from it costs nothing.

    Elsewhere plain torch does the work. Code asks here and nowhere else, so that a test can have it take the way of a
    GPU on a CPU.
    """
    return tensor.device.type == "cpu"


def queues_assertions(tensor: Tensor) -> bool:
    """Whether the device can check a condition later, so that the program need not wait for the answer."""
    return tensor.is_cuda


def require(condition: Tensor, message: str, found: Callable[[], str]) -> None:
    """Raise a ValueError unless ``condition``, a single boolean, holds; ``found`` tells what was got instead.

    On CUDA an assertion is queued, because reading the answer would stall the device: where it fails, CUDA prints
    ``message`` and refuses all further work. On every other device the answer is read. A tensor on the meta device has
    no values to check.
    """
    if condition.is_meta:
        return
    if queues_assertions(condition):
        torch._assert_async(condition, message[:_LONGEST_MESSAGE])
    elif not condition:
        raise ValueError(f"{message}; {found()}")
