"""Layers with the names, arguments and weights of spconv 2, so that checkpoints fit both."""

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from lidar_rank.sparse.few_rows import apply_to_rows
from lidar_rank.sparse.native.operations import convolve
from lidar_rank.sparse.native.rulebook import ActiveSites, Geometry, Rulebook
from lidar_rank.sparse.native.tensor import SparseConvTensor, StridedStep


class SparseModule(nn.Module):
    """A layer that takes and returns a :class:`SparseConvTensor`; SparseSequential gives others the features."""

    # mmdet3d reads weights of modules with a lower version as those of spconv 1, and permutes them.
    _version = 2


class SparseSequential(SparseModule, nn.Sequential):
    """Layers one after the other; a layer that is not a :class:`SparseModule` works on the features alone.

    Args:
        args: Layers, or one OrderedDict of them.
        kwargs: Further layers by their name.
    """

    def __init__(self, *args: Any, **kwargs: nn.Module) -> None:
        super().__init__(*args)
        for name, module in kwargs.items():
            if name in self._modules:
                raise ValueError(f"there is a layer named {name!r} already")
            self.add_module(name, module)

    def forward(self, input: Any) -> Any:
        """Apply the layers."""
        for module in self:
            if isinstance(module, SparseModule) or not isinstance(input, SparseConvTensor):
                input = module(input)
            else:
                input = input.replace_feature(apply_to_rows(module, input.features))
        return input


class _Convolution(SparseModule):
    """What the convolutions share.

    Args:
        in_channels: Features of an input voxel.
        out_channels: Features of an output voxel.
        kernel_size: Cells of the kernel, one number or one for each of z, y and x; the next three are given alike.
        stride: Grid cells from one output to the next.
        padding: Cells around the input grid.
        dilation: Grid cells from one kernel cell to the next.
        groups: Must be 1.
        bias: Whether a bias is added to the active outputs.
        indice_key: Name under which an inverse convolution finds this one.
        algo: Ignored, as are the next three: choices of spconv for GPUs.
        fp32_accum: Ignored.
        large_kernel_fast_algo: Ignored.
        name: Ignored.

    Raises:
        ValueError: a size is not one or three positive numbers, or ``groups`` is not 1.
    """

    subm = False
    transposed = False
    inverse = False

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int | Sequence[int],
        stride: int | Sequence[int] = 1,
        padding: int | Sequence[int] = 0,
        dilation: int | Sequence[int] = 1,
        groups: int = 1,
        bias: bool = True,
        indice_key: str | None = None,
        algo: Any = None,  # noqa: ARG002
        fp32_accum: bool | None = None,  # noqa: ARG002
        large_kernel_fast_algo: bool = False,  # noqa: ARG002
        name: str | None = None,  # noqa: ARG002
    ) -> None:
        super().__init__()
        if groups != 1:
            raise ValueError(f"groups must be 1, got {groups}")
        self.in_channels, self.out_channels, self.groups = in_channels, out_channels, groups
        self.kernel_size = _three("kernel_size", kernel_size)
        self.stride = _three("stride", stride)
        self.padding = _three("padding", padding, least=0)
        self.dilation = _three("dilation", dilation)
        self.indice_key = indice_key
        self.weight = nn.Parameter(torch.empty(out_channels, *self.kernel_size, in_channels))
        self.bias = nn.Parameter(torch.empty(out_channels)) if bias else None
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw weight and bias as torch's dense convolutions and spconv do."""
        nn.init.kaiming_uniform_(self.weight.flatten(1), a=math.sqrt(5))
        if self.bias is not None:
            bound = 1 / math.sqrt(self.in_channels * math.prod(self.kernel_size))
            nn.init.uniform_(self.bias, -bound, bound)

    def forward(self, input: SparseConvTensor) -> SparseConvTensor:
        """Convolve.

        The products are computed in float32, or in float64 for features of that type, also under autocast, because
        most CPUs multiply narrower types no faster. The result has the type of the features.

        Raises:
            ValueError: the input has another number of channels, or its grid is too small for the kernel.
        """
        if input.features.shape[1] != self.in_channels:
            raise ValueError(
                f"the layer takes {self.in_channels} channels, got features of shape {tuple(input.features.shape)}"
            )
        dtype = torch.promote_types(input.features.dtype, torch.float32)
        with torch.autocast("cpu", enabled=False):
            features, weight = input.features.to(dtype), self.weight.to(dtype)
            if self._is_linear():
                # spconv multiplies by the weight as it lies in memory, which is a transposition of the layout above.
                out, sites, steps = features @ weight.view(self.in_channels, -1), input.sites, input.indice_dict
            else:
                rulebook, sites, steps = self._join(input)
                out = convolve(features, weight.flatten(1, 3), rulebook)
            if self.bias is not None:
                out = out + self.bias.to(dtype)
        return SparseConvTensor.on_sites(out.to(input.features.dtype), sites, steps)

    def _is_linear(self) -> bool:
        """Whether the kernel has one cell and joins every voxel with itself."""
        raise NotImplementedError

    def _join(self, input: SparseConvTensor) -> tuple[Rulebook, ActiveSites, dict[str, StridedStep]]:
        """Rulebook, the sites of the output, and the strided convolutions that an inverse one may undo there."""
        raise NotImplementedError

    def extra_repr(self) -> str:
        """Arguments, as ``repr`` prints them."""
        return (
            f"{self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}, stride={self.stride},"
            f" padding={self.padding}, dilation={self.dilation}, bias={self.bias is not None},"
            f" indice_key={self.indice_key!r}"
        )


class SubMConv3d(_Convolution):
    """Submanifold convolution: the outputs are the input's voxels, as if the padding kept the size of the grid.

    Arguments as :class:`SparseConv3d`; ``padding`` is without effect and ``stride`` is 1.

    Source: Graham & van der Maaten, "Submanifold Sparse Convolutional Networks", arXiv:1706.01307.
    """

    subm = True

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if self.stride != [1, 1, 1]:
            raise ValueError(f"a submanifold convolution keeps the voxels: stride must be 1, got {self.stride}")

    def _is_linear(self) -> bool:
        return self.kernel_size == [1, 1, 1]

    def _join(self, input: SparseConvTensor) -> tuple[Rulebook, ActiveSites, dict[str, StridedStep]]:
        return input.sites.submanifold(self.kernel_size, self.dilation), input.sites, input.indice_dict


class SparseConv3d(_Convolution):
    """Convolution whose output is active wherever an input reaches.

    Source: Yan et al., "SECOND: Sparsely Embedded Convolutional Detection", Sensors 2018.
    """

    def _is_linear(self) -> bool:
        return self.kernel_size == self.stride == [1, 1, 1] and self.padding == [0, 0, 0]

    def _join(self, input: SparseConvTensor) -> tuple[Rulebook, ActiveSites, dict[str, StridedStep]]:
        if self.indice_key in input.indice_dict:
            raise ValueError(
                f"a strided convolution with indice_key {self.indice_key!r} has run already: an inverse convolution"
                " could not tell them apart"
            )
        geometry = Geometry(self.kernel_size, self.stride, self.padding, self.dilation, self.transposed)
        rulebook, sites = input.sites.strided(geometry)
        if self.indice_key is None:
            return rulebook, sites, input.indice_dict
        step = StridedStep(rulebook, input.sites, sites, self.kernel_size)
        return rulebook, sites, {**input.indice_dict, self.indice_key: step}


class SparseConvTranspose3d(SparseConv3d):
    """Transposed convolution whose output is active wherever an input reaches; arguments as torch's."""

    transposed = True


class SparseInverseConv3d(_Convolution):
    """Transposed convolution back to the voxels that a :class:`SparseConv3d` came from.

    Args:
        in_channels: Features of an input voxel.
        out_channels: Features of an output voxel.
        kernel_size: Kernel of the convolution that is undone.
        indice_key: Its name.
        bias: Whether a bias is added to the active outputs.
        options: Other arguments of :class:`SparseConv3d`, which are ignored.
    """

    inverse = True

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int | Sequence[int],
        indice_key: str,
        bias: bool = True,
        **options: Any,
    ) -> None:
        super().__init__(in_channels, out_channels, kernel_size, bias=bias, indice_key=indice_key, **options)

    def _is_linear(self) -> bool:
        return False

    def _join(self, input: SparseConvTensor) -> tuple[Rulebook, ActiveSites, dict[str, StridedStep]]:
        step = input.indice_dict.get(str(self.indice_key))
        if step is None:
            raise ValueError(
                f"no strided convolution with indice_key {self.indice_key!r} has run, got {sorted(input.indice_dict)}"
            )
        if step.kernel_size != self.kernel_size:
            raise ValueError(
                f"the convolution {self.indice_key!r} has kernel {step.kernel_size}, its inverse {self.kernel_size}"
            )
        if not torch.equal(input.indices, step.outputs.indices):
            raise ValueError(f"the input is not on the voxels that the convolution {self.indice_key!r} gave")
        return step.rulebook.inverse, step.inputs, input.indice_dict


def _three(name: str, value: int | Sequence[int], least: int = 1) -> list[int]:
    sizes = [int(size) for size in value] if isinstance(value, Sequence) else [int(value)] * 3
    if len(sizes) != 3 or min(sizes) < least:
        raise ValueError(f"{name} must be one number or three, each at least {least}, got {value!r}")
    return sizes
