"""Choice of the sparse-convolution backend, and the repairs that let spconv train on a CPU."""

import functools
import warnings
from collections.abc import Callable
from importlib import import_module
from importlib.util import find_spec
from types import ModuleType
from typing import Any

import torch
from torch import Tensor

from lidar_rank.settings import skipped_repairs


@functools.cache
def backend() -> ModuleType:
    """Return the module that has ``SubMConv3d`` and its kin: spconv where it is installed, else spconv-triton on a GPU.

    spconv is repaired on the way (:func:`repair_spconv`), so that it trains on CPU tensors too, unless the environment
    variable ``LIDAR_RANK_SKIP`` names ``repair_spconv``.

    Raises:
        ImportError: neither package is installed, or only spconv-triton is and there is no GPU for it.
    """
    if find_spec("spconv"):
        with warnings.catch_warnings():
            # spconv 2.3 and what it imports use names that torch and Python have since deprecated.
            warnings.simplefilter("ignore")
            module = import_module("spconv.pytorch")
        if "repair_spconv" not in skipped_repairs():
            repair_spconv(module)
        return module
    if find_spec("spconv_triton"):
        if not torch.cuda.is_available():
            raise ImportError("spconv-triton runs on a GPU only and torch sees none: pip install spconv-cu120==2.3.6")
        return import_module("spconv_triton.pytorch")
    raise ImportError(
        "sparse convolution needs a backend: pip install spconv-cu120==2.3.6 (CPU and GPU, Python <= 3.11)"
        " or pip install spconv-triton (GPU)"
    )


def repair_spconv(spconv_pytorch: ModuleType) -> None:
    """Make spconv 2.3 correct and trainable on CPU tensors; CUDA tensors take the very path they took before.

    Repeating it is harmless: each repaired function is marked.
    """
    _wrap(spconv_pytorch.SparseConvTensor, "__init__", _with_contiguous_indices)
    _wrap(spconv_pytorch.conv.SparseConvolution, "_conv_forward", _with_native_algorithm_on_cpu)
    _wrap(spconv_pytorch.ops, "get_current_stream", _without_stream_on_cpu)
    _wrap(spconv_pytorch.core, "scatter_nd", _with_tuple_index)
    _wrap(spconv_pytorch.functional, "indice_conv", _with_empty_input)
    _wrap(spconv_pytorch.functional, "indice_inverse_conv", _with_empty_input)


def _wrap(owner: Any, name: str, repair: Callable[[Callable[..., Any]], Callable[..., Any]]) -> None:
    original = getattr(owner, name)
    if getattr(original, "is_repaired", False):
        return
    repaired = functools.wraps(original)(repair(original))
    repaired.is_repaired = True  # type: ignore[attr-defined]
    setattr(owner, name, repaired)


def _with_contiguous_indices(original: Callable[..., None]) -> Callable[..., None]:
    """Copy indices into rows: spconv reads a transposed int32 tensor as if it were contiguous, and says nothing."""

    def init(self: Any, features: Tensor, indices: Tensor, *args: Any, **kwargs: Any) -> None:
        original(self, features.contiguous(), indices.contiguous(), *args, **kwargs)

    return init


def _with_native_algorithm_on_cpu(original: Callable[..., Any]) -> Callable[..., Any]:
    """Use gather-multiply-scatter for CPU tensors: implicit GEMM, the default of CUDA builds, has no CPU code."""
    from spconv.pytorch import ConvAlgo

    def conv_forward(self: Any, training: bool, input: Any, *args: Any, **kwargs: Any) -> Any:
        if input.features.device.type != "cpu":
            return original(self, training, input, *args, **kwargs)
        chosen, self.algo = self.algo, ConvAlgo.Native
        try:
            return original(self, training, input, *args, **kwargs)
        finally:
            self.algo = chosen

    return conv_forward


def _without_stream_on_cpu(original: Callable[[], int]) -> Callable[[], int]:
    """Answer 0 where there is no CUDA: the Python backward asks for a stream before it looks where its tensors are.

    Wheels without compiled matrix products, such as spconv's own CPU build, take that backward; spconv-cu120 does not.
    """

    def get_current_stream() -> int:
        return original() if torch.cuda.is_available() else 0

    return get_current_stream


def _with_tuple_index(original: Callable[..., Tensor]) -> Callable[..., Tensor]:  # noqa: ARG001 - replaced whole
    """Index with a tuple: spconv indexes with a list, which torch >= 2.9 may read as one tensor."""

    def scatter_nd(indices: Tensor, updates: Tensor, shape: list[int]) -> Tensor:
        dense = updates.new_zeros(shape)
        dense[tuple(indices.long().unbind(-1))] = updates
        return dense

    return scatter_nd


def _with_empty_input(original: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """Answer a batch without voxels with no rows: spconv stops at it. The zero keeps the weight in the graph."""

    def convolve(features: Tensor, filters: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        if len(features):
            return original(features, filters, *args, **kwargs)
        return features.new_zeros(0, filters.shape[0]) + 0 * (filters.sum() + features.sum())

    return convolve
