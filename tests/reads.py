"""Who makes a GPU wait: operations that read a value from it, or copy numbers to it.

On a GPU torch reports them itself. On a CPU the same code runs as if it were elsewhere, and the calls that would wait
are recorded: without a GPU too a test fails when somebody puts a ``.cpu()`` into a training step.
"""

import sys
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, NamedTuple
from unittest.mock import patch

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

import lidar_rank
from lidar_rank import devices

DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)]

_OURS = Path(lidar_rank.__file__).parent
_WAITING_OPERATORS = {
    "_local_scalar_dense",  # item(), bool(), int(), float()
    "_unique2",
    "bincount",
    "equal",
    "lift_fresh",  # torch.tensor([...]), a list as an index
    "masked_select",
    "nonzero",
    "unique_consecutive",
    "unique_dim",
}


class Read(NamedTuple):
    """One operation for which the device is waited for."""

    what: str
    file: Path
    line: int

    @property
    def is_ours(self) -> bool:
        """Whether our code asked for it, not torch or the host."""
        return self.file.is_relative_to(_OURS)


@contextmanager
def on_device(device: str) -> Iterator[None]:
    """Run the code for GPUs, also if ``device`` is a CPU."""
    with ExitStack() as stack:
        if device == "cpu":
            stack.enter_context(patch.object(devices, "on_cpu", lambda _: False))
            stack.enter_context(patch.object(devices, "queues_assertions", lambda _: True))
        yield


@contextmanager
def recorded(device: str) -> Iterator[list[Read]]:
    """As :func:`on_device`; the list holds the reads once the block has ended."""
    reads: list[Read] = []
    with on_device(device), _recorded_on_gpu(reads) if device == "cuda" else _recorded_on_cpu(reads):
        yield reads


@contextmanager
def _recorded_on_gpu(reads: list[Read]) -> Iterator[None]:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        torch.cuda.set_sync_debug_mode("warn")
        try:
            yield
        finally:
            torch.cuda.set_sync_debug_mode("default")
    for warning in caught:
        if "synchronizing CUDA operation" in str(warning.message):
            reads.append(Read("synchronize", Path(warning.filename), warning.lineno))


@contextmanager
def _recorded_on_cpu(reads: list[Read]) -> Iterator[None]:
    def recording(what: str, original: Any) -> Any:
        def method(*inputs: Any, **named: Any) -> Any:
            reads.append(_read_by_caller(what))
            return original(*inputs, **named)

        return method

    def to(tensor: Tensor, *inputs: Any, **named: Any) -> Tensor:
        # By name alone: the device of another tensor is the CPU here, and the GPU there.
        if any(isinstance(value, str) and value == "cpu" for value in (*inputs, *named.values())):
            reads.append(_read_by_caller("to"))
        return original_to(tensor, *inputs, **named)

    original_to = Tensor.to
    with ExitStack() as stack:
        for name in ("cpu", "numpy", "tolist", "__array__"):
            stack.enter_context(patch.object(Tensor, name, recording(name, getattr(Tensor, name))))
        stack.enter_context(patch.object(Tensor, "to", to))
        stack.enter_context(patch.object(torch, "from_numpy", recording("from_numpy", torch.from_numpy)))
        stack.enter_context(_Operators(reads))
        yield


class _Operators(TorchDispatchMode):
    def __init__(self, reads: list[Read]) -> None:
        super().__init__()
        self.reads = reads

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        kwargs = kwargs or {}
        name = func.overloadpacket.__name__
        waits = name in _WAITING_OPERATORS
        if name in ("index", "index_put", "index_put_", "_unsafe_index"):
            waits = any(index is not None and index.dtype in (torch.bool, torch.uint8) for index in args[1])
        elif name == "repeat_interleave" and isinstance(args[-1], Tensor):
            waits = kwargs.get("output_size") is None
        if waits:
            self.reads.append(_read_by_caller(name))
        return func(*args, **kwargs)


def _read_by_caller(what: str) -> Read:
    """The read, at the innermost frame outside of torch and this file."""
    frame = sys._getframe(1)
    torch_itself = Path(torch.__file__).parent
    while frame.f_back and (
        frame.f_code.co_filename == __file__ or torch_itself in Path(frame.f_code.co_filename).parents
    ):
        frame = frame.f_back
    return Read(what, Path(frame.f_code.co_filename), frame.f_lineno)
