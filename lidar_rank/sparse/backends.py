"""Choice of the sparse-convolution backend, and the repairs that let spconv train on a CPU."""

import functools
import warnings
from collections.abc import Callable
from importlib import import_module
from importlib.util import find_spec
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lidar_rank.settings import skipped_repairs


@functools.cache
def backend() -> ModuleType:
    """Return the module that provides ``SubMConv3d`` etc.: spconv if it is installed, else spconv-triton on a GPU.

    spconv is repaired first (:func:`repair_spconv`), so that it also trains on CPU tensors, unless the environment
    variable ``LIDAR_RANK_SKIP`` names ``repair_spconv``.

    Raises:
        ImportError: neither package is installed, or only spconv-triton is installed and there is no GPU.
    """
    if find_spec("spconv"):
        with warnings.catch_warnings():
            # spconv 2.3 and its dependencies use names that torch and Python have since deprecated.
            warnings.simplefilter("ignore")
            module = import_module("spconv.pytorch")
        if "repair_spconv" not in skipped_repairs():
            repair_spconv(module)
        return module
    if find_spec("spconv_triton"):
        if not torch.cuda.is_available():
            raise ImportError("spconv-triton runs on a GPU only and torch finds none: pip install spconv-cu120==2.3.6")
        return import_module("spconv_triton.pytorch")
    raise ImportError(
        "sparse convolution needs a backend: pip install spconv-cu120==2.3.6 (CPU and GPU, Python <= 3.11)"
        " or pip install spconv-triton (GPU)"
    )


def repair_spconv(spconv_pytorch: ModuleType) -> None:
    """Make spconv 2.3 correct and trainable on CPU tensors, and with few voxels or none.

    Repeating it is harmless: each repaired function is marked.
    """
    _wrap(spconv_pytorch.SparseConvTensor, "__init__", _with_contiguous_indices)
    _wrap(spconv_pytorch.conv.SparseConvolution, "_conv_forward", _with_native_algorithm_on_cpu)
    _wrap(spconv_pytorch.ops, "get_current_stream", _without_stream_on_cpu)
    _wrap(spconv_pytorch.core, "scatter_nd", _with_tuple_index)
    _wrap(spconv_pytorch.functional, "indice_conv", _with_empty_input)
    _wrap(spconv_pytorch.functional, "indice_inverse_conv", _with_empty_input)
    _wrap(spconv_pytorch.SparseSequential, "forward", _with_norms_of_few_rows)


def _wrap(owner: Any, name: str, repair: Callable[[Callable[..., Any]], Callable[..., Any]]) -> None:
    original = getattr(owner, name)
    if getattr(original, "is_repaired", False):
        return
    repaired = functools.wraps(original)(repair(original))
    repaired.is_repaired = True  # type: ignore[attr-defined]
    setattr(owner, name, repaired)


def _with_contiguous_indices(original: Callable[..., None]) -> Callable[..., None]:
    """Make inputs contiguous: spconv reads a transposed int32 tensor as if it were contiguous, without an error."""

    def init(self: Any, features: Tensor, indices: Tensor, *args: Any, **kwargs: Any) -> None:
        original(self, features.contiguous(), indices.contiguous(), *args, **kwargs)

    return init


def _with_native_algorithm_on_cpu(original: Callable[..., Any]) -> Callable[..., Any]:
    """Use gather-multiply-scatter for CPU tensors: implicit GEMM, the default of CUDA builds, has no code for CPUs."""
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
    """Return stream 0 without CUDA: spconv's Python backward asks for a stream before it checks where its tensors are.

    Wheels without compiled matrix products, such as spconv's CPU build, use this backward; spconv-cu120 does not.
    """

    def get_current_stream() -> int:
        return original() if torch.cuda.is_available() else 0

    return get_current_stream


def _with_tuple_index(original: Callable[..., Tensor]) -> Callable[..., Tensor]:  # noqa: ARG001 - replaced entirely
    """Index with a tuple: spconv indexes with a list, which torch >= 2.9 may read as one tensor."""

    def scatter_nd(indices: Tensor, updates: Tensor, shape: list[int]) -> Tensor:
        dense = updates.new_zeros(shape)
        dense[tuple(indices.long().unbind(-1))] = updates
        return dense

    return scatter_nd


def _with_empty_input(original: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """Return no rows for a batch without voxels, where spconv fails. The added zero keeps the weights in the graph."""

    def convolve(features: Tensor, filters: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        if len(features):
            return original(features, filters, *args, **kwargs)
        return features.new_zeros(0, filters.shape[0]) + 0 * (filters.sum() + features.sum())

    return convolve


def _with_norms_of_few_rows(original: Callable[..., Any]) -> Callable[..., Any]:  # noqa: ARG001 - replaced whole
    """Normalise fewer than two rows with the running statistics, in training too.

    torch refuses a single row in training, because it has no variance. spconv skips the layer if there is no row: its
    parameters then get no gradient, for which the other ranks of a distributed run wait.
    """
    from spconv.pytorch import SparseConvTensor
    from spconv.pytorch.modules import is_spconv_module

    def forward(self: Any, input: Any) -> Any:
        for module in self._modules.values():
            if is_spconv_module(module) or not isinstance(input, SparseConvTensor):
                input = module(input)
            elif isinstance(module, nn.BatchNorm1d) and len(input.features) < 2:
                statistics = module.running_mean, module.running_var, module.weight, module.bias
                input = input.replace_feature(F.batch_norm(input.features, *statistics, eps=module.eps))
            else:
                input = input.replace_feature(module(input.features))
        return input

    return forward
