"""Which code an operator runs, and the numbers that mmcv's operators take."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from lidar_rank import devices


def uses_numba(tensor: Tensor) -> bool:
    """Whether the numba kernels can read the tensor; elsewhere plain torch does the work."""
    return devices.on_cpu(tensor)


def check_dtype(operator: str, tensor: Tensor, *allowed: torch.dtype) -> None:
    """Refuse what mmcv's operator refuses.

    Raises:
        TypeError: the tensor is of another dtype.
    """
    if tensor.dtype not in allowed:
        names = ", ".join(str(dtype) for dtype in allowed)
        raise TypeError(f"{operator} takes tensors of {names}, got {tensor.dtype}: convert them first")


def in_float32(
    operator: Callable[..., None], read: Sequence[Tensor], written: Sequence[Tensor], *settings: object
) -> None:
    """Run an operator on float32 copies of the tensors that it reads and writes, then copy what it has written back."""
    copies = [tensor.float() for tensor in written]
    operator(*(tensor.float() for tensor in read), *copies, *settings)
    for tensor, copied in zip(written, copies, strict=True):
        tensor.copy_(copied)
