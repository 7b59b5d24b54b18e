"""Choice of the sparse-convolution backend, and repairs: spconv trains on a CPU, and spconv-triton starts sooner."""

import functools
import os
import sys
import warnings
from collections.abc import Callable
from importlib import import_module, metadata
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType
from typing import Any

import torch
from torch import Tensor

from lidar_rank.settings import SPARSE_VARIABLE, skipped_repairs
from lidar_rank.sparse.few_rows import apply_to_rows

_MODULES = {
    "native": "lidar_rank.sparse.native",
    "spconv": "spconv.pytorch",
    "spconv_triton": "spconv_triton.pytorch",
}
_INSTALL = {
    "spconv": "pip install spconv-cu120==2.3.6 (Python <= 3.11)",
    "spconv_triton": "pip install spconv-triton",
}


@functools.cache
def backend() -> ModuleType:
    """Return the module that provides ``SubMConv3d`` etc.; the first call decides for the whole process.

    The environment variable ``LIDAR_RANK_SPARSE`` forces ``native``, ``spconv`` or ``spconv_triton``. Without it:

    * spconv, if it is imported already, because a host that took its layers from there needs tensors of the same kind;
    * where torch finds a GPU, spconv's CUDA build, else spconv-triton, if one of them is installed;
    * everywhere else ``lidar_rank.sparse.native``, which needs no package.

    Raises:
        ValueError: ``LIDAR_RANK_SPARSE`` names no backend.
        ImportError: The backend that it names is not installed, or there is no GPU for it.
    """
    return load(os.environ.get(SPARSE_VARIABLE) or _default())


def load(name: str) -> ModuleType:
    """Import one backend.

    spconv is repaired (:func:`repair_spconv`), so that it also trains on CPU tensors, and spconv-triton tries fewer
    kernels (:func:`limit_triton_tiles`), unless the environment variable ``LIDAR_RANK_SKIP`` names the repair.

    Raises:
        ValueError: There is no backend of this name.
        ImportError: It is not installed, or there is no GPU for it.
    """
    if name not in _MODULES:
        raise ValueError(f"LIDAR_RANK_SPARSE must be one of {', '.join(_MODULES)}, got {name!r}")
    if name in _INSTALL and not _is_installed(name):
        raise ImportError(f"the sparse backend {name} is not installed: {_INSTALL[name]}, or unset LIDAR_RANK_SPARSE")
    if name == "spconv_triton" and not torch.cuda.is_available():
        raise ImportError("spconv-triton runs on a GPU only and torch finds none: set LIDAR_RANK_SPARSE=native")
    with warnings.catch_warnings():
        # spconv 2.3 and its dependencies use names that torch and Python have since deprecated.
        warnings.simplefilter("ignore")
        module = import_module(_MODULES[name])
    if name == "spconv" and repair_spconv.__name__ not in skipped_repairs():
        repair_spconv(module)
    if name == "spconv_triton" and limit_triton_tiles.__name__ not in skipped_repairs():
        limit_triton_tiles(import_module("spconv_triton.pytorch._impl.gemm"))
    return module


def provide_to_host() -> None:
    """Let mmdet3d take its sparse layers from :func:`backend`.

    mmdet3d 1.4 imports them from ``spconv.pytorch`` by name, so any other backend is registered under that name.

    Raises:
        ImportError: mmdet3d has taken its layers from elsewhere already.
    """
    module = backend()
    bound = sys.modules.get("mmdet3d.models.layers.sparse_block")
    if bound is not None and bound.SparseConvTensor is not module.SparseConvTensor:
        raise ImportError(
            f"mmdet3d was imported first and took its sparse layers from {bound.SparseConvTensor.__module__}, not from"
            f" {module.__name__}: import lidar_rank.mm before mmdet3d"
        )
    if module.__name__ != "spconv.pytorch":
        package = ModuleType("spconv", f"Stands for {module.__name__}.")
        package.__spec__ = ModuleSpec("spconv", None, is_package=True)
        package.__path__ = []
        package.__version__ = "2.3.6"  # type: ignore[attr-defined]  # mmdet3d asks for 2.0 or higher
        package.pytorch = module  # type: ignore[attr-defined]
        sys.modules.update({"spconv": package, "spconv.pytorch": module})


def _default() -> str:
    imported = sys.modules.get("spconv.pytorch")
    if imported is not None and imported.__name__ == "spconv.pytorch":
        return "spconv"
    if torch.cuda.is_available():
        if _is_installed("spconv") and not _has_distribution("spconv"):  # which is the name of its CPU build alone
            return "spconv"
        if _is_installed("spconv_triton"):
            return "spconv_triton"
    return "native"


def _is_installed(package: str) -> bool:
    # importlib.util.find_spec would find the module that provide_to_host registers under the name of spconv.
    return PathFinder.find_spec(package) is not None


def _has_distribution(name: str) -> bool:
    try:
        metadata.distribution(name)
    except metadata.PackageNotFoundError:
        return False
    return True


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


def limit_triton_tiles(gemm: ModuleType) -> None:
    """Let spconv-triton compile and time no kernel whose tiles are wider than the layer.

    For each shape of layer it tries 37 tiles for products and 21 for gradients of weights. Those for 128 or 256
    channels take most of the time, and with the 16 to 64 channels of most layers they multiply zeros.
    """
    gemm._gather_gemm_kernel.early_config_prune = _tiles_within({"BLOCK_N": "N_dim", "BLOCK_R": "R_dim"})
    gemm._dweight_masked_kernel.early_config_prune = _tiles_within({"BLOCK_K": "K_dim", "BLOCK_C": "C_dim"})


def _tiles_within(channels: dict[str, str]) -> Callable[..., list[Any]]:
    """A choice of Triton's candidates, given the argument with the number of channels for each side of a tile."""

    def choose(candidates: list[Any], arguments: dict[str, Any], **_: Any) -> list[Any]:
        # The next power of two, and 16, the least that tl.dot takes.
        widest = {side: max(16, 1 << (arguments[name] - 1).bit_length()) for side, name in channels.items()}
        return [one for one in candidates if all(one.kwargs[side] <= most for side, most in widest.items())]

    return choose


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
    """Use gather-multiply-scatter for CPU tensors: implicit GEMM, the default of CUDA builds, has no code for CPUs.

    The bias is added here, because in evaluation spconv passes it to code that refuses it on a CPU.
    """
    from spconv.pytorch import ConvAlgo

    def conv_forward(
        self: Any, training: bool, input: Any, weight: Tensor, bias: Tensor | None, *args: Any, **kwargs: Any
    ) -> Any:
        if input.features.device.type != "cpu":
            return original(self, training, input, weight, bias, *args, **kwargs)
        chosen, self.algo = self.algo, ConvAlgo.Native
        try:
            out = original(self, training, input, weight, None, *args, **kwargs)
        finally:
            self.algo = chosen
        return out if bias is None else out.replace_feature(out.features + bias)

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


def _with_norms_of_few_rows(original: Callable[..., Any]) -> Callable[..., Any]:  # noqa: ARG001 - replaced entirely
    """Apply layers as :func:`apply_to_rows` does: spconv skips them without a row, and torch refuses one row."""
    from spconv.pytorch import SparseConvTensor
    from spconv.pytorch.modules import is_spconv_module

    def forward(self: Any, input: Any) -> Any:
        for module in self._modules.values():
            if is_spconv_module(module) or not isinstance(input, SparseConvTensor):
                input = module(input)
            else:
                input = input.replace_feature(apply_to_rows(module, input.features))
        return input

    return forward
