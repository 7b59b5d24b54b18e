"""Convolutions of maps on a CPU, several times faster than torch's own."""

import functools
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from lidar_rank.kernels.simd import channels_at_once
from lidar_rank.kernels.winograd import POINTS, TILES_AT_ONCE, add_weight_gradient, convolve_tiles
from lidar_rank.shapes import Float
from lidar_rank.threads import run_at_once


def speed_up(network: nn.Module, *equivalents: type[nn.Module]) -> None:
    """Let the convolutions of a network take the ways of this module with tensors on a CPU.

    Names, weights and, to rounding, results stay as they are.

    Args:
        network: Changed in place.
        equivalents: Classes derived from ``nn.Conv2d`` or ``nn.ConvTranspose2d`` that compute the same; other derived
            classes are left alone.
    """
    for module in network.modules():
        if type(module) in (nn.Conv2d, nn.ConvTranspose2d, *equivalents):
            module.__class__ = Conv2d if isinstance(module, nn.Conv2d) else ConvTranspose2d


class Conv2d(nn.Conv2d):
    """torch's layer, by matrix products for kernels of one cell and by Winograd's algorithm for 3 x 3."""

    def _conv_forward(self, input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        if _is_ours(input, self) and self.padding_mode == "zeros":
            if _is_pointwise(self):
                return _channels_second(F.linear(_channels_last(input), weight.flatten(1), bias))
            if self.kernel_size == (3, 3) and self.stride == self.padding == (1, 1) and _fills_vectors(input, weight):
                out = convolve_3x3(input, weight)
                return out if bias is None else out + bias[:, None, None]
        return super()._conv_forward(input, weight, bias)


def apply_together(layers: Sequence[nn.Conv2d], maps: Float[Tensor, "scan channel y x"]) -> tuple[Tensor, ...]:
    """Outputs of several layers with a bias for the same maps, of 1 x 1 convolutions on a CPU by one product."""
    if not all(type(layer) is Conv2d and _is_pointwise(layer) and _is_ours(maps, layer) for layer in layers):
        return tuple(layer(maps) for layer in layers)
    weight, bias = (torch.cat([getattr(layer, name) for layer in layers]) for name in ("weight", "bias"))
    out = _channels_second(F.linear(_channels_last(maps), weight.flatten(1), bias))
    return out.split([layer.out_channels for layer in layers], 1)


class ConvTranspose2d(nn.ConvTranspose2d):
    """torch's layer, by a matrix product where no outputs of two inputs meet."""

    def forward(self, input: Tensor, output_size: list[int] | None = None) -> Tensor:
        """Apply the layer."""
        alone = self.kernel_size == self.stride and self.padding == self.output_padding == (0, 0)
        if not (_is_ours(input, self) and alone and output_size is None):
            return super().forward(input, output_size)
        (scans, _, height, width), (rows, columns) = input.shape, self.kernel_size
        cells = F.linear(_channels_last(input), self.weight.permute(2, 3, 1, 0).flatten(0, 2))
        cells = cells.view(scans, height, width, rows, columns, self.out_channels).transpose(2, 3)
        out = _channels_second(cells.reshape(scans, height * rows, width * columns, self.out_channels))
        return out if self.bias is None else out + self.bias[:, None, None]


def _is_ours(maps: Tensor, layer: nn.Conv2d | nn.ConvTranspose2d) -> bool:
    return (
        maps.device.type == "cpu"
        and maps.ndim == 4
        and maps.dtype == layer.weight.dtype
        and maps.dtype in (torch.float32, torch.float64)
        and layer.groups == 1
        and layer.dilation == (1, 1)
        and not torch.is_autocast_enabled("cpu")
        and not torch.jit.is_tracing()  # type: ignore[attr-defined]
    )


def _is_pointwise(layer: nn.Conv2d) -> bool:
    return layer.kernel_size == layer.stride == (1, 1) and layer.padding == (0, 0)


def _fills_vectors(maps: Tensor, weight: Tensor) -> bool:
    return (
        all(channels % channels_at_once(maps.itemsize) == 0 for channels in weight.shape[:2])
        and _tiles(maps) >= TILES_AT_ONCE
    )


def convolve_3x3(
    maps: Float[Tensor, "scan in_channel y x"], weight: Float[Tensor, "out_channel in_channel 3 3"]
) -> Float[Tensor, "scan out_channel y x"]:
    """``torch.nn.functional.conv2d(maps, weight, padding=1)`` by Winograd's algorithm.

    The numbers of channels are multiples of 16 for float32, of 8 for float64. The result is stored with the channels
    last. As many threads as torch uses share the work.
    """
    return _Convolve.apply(maps, weight)


class _Convolve(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, maps: Tensor, weight: Tensor) -> Tensor:
        maps = maps.contiguous(memory_format=torch.channels_last)
        ctx.save_for_backward(maps, weight)
        return _convolve(maps, weight.detach())

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None]:
        maps, weight = ctx.saved_tensors
        maps_grad = weight_grad = None
        if ctx.needs_input_grad[0]:
            maps_grad = _convolve(grad, weight.detach().flip(2, 3).transpose(0, 1))
        if ctx.needs_input_grad[1]:
            weight_grad = _weight_gradient(maps, grad)
        return maps_grad, weight_grad


def _convolve(maps: Tensor, weight: Tensor) -> Tensor:
    outputs, inputs = weight.shape[:2]
    group = channels_at_once(maps.itemsize)
    spectra = _transform(maps) @ weight.permute(2, 3, 1, 0).reshape(9, -1)
    spectra = spectra.view(36, inputs, outputs // group, group).transpose(1, 2).reshape(-1, group)
    rows = _channels_last(maps)
    out = rows.new_empty(*rows.shape[:3], outputs)
    arrays = _pixels(out), _pixels(rows), spectra.numpy(), *rows.shape[1:3]
    run_at_once(functools.partial(convolve_tiles, *arrays, *part) for part in _parts(maps))
    return _channels_second(out)


def _weight_gradient(maps: Tensor, grad: Tensor) -> Tensor:
    rows, grad_rows, parts = _channels_last(maps), _channels_last(grad), _parts(maps)
    inputs, outputs = maps.shape[1], grad.shape[1]
    spectra = rows.new_zeros(len(parts), 36 * inputs, outputs)
    arrays = _pixels(rows), _pixels(grad_rows), *rows.shape[1:3]
    run_at_once(
        functools.partial(add_weight_gradient, own.numpy(), *arrays, *part)
        for own, part in zip(spectra, parts, strict=True)
    )
    cells = _transform(maps).T @ spectra.sum(0).view(36, -1)
    return cells.view(3, 3, inputs, outputs).permute(3, 2, 0, 1).contiguous()


def _transform(like: Tensor) -> Float[Tensor, "36 9"]:
    """The transform of a kernel: Lavin and Gray's G along both axes."""
    return torch.tensor(_kernel_transform(), dtype=like.dtype)


@functools.cache
def _kernel_transform() -> np.ndarray:
    p, q = POINTS
    points = (0.0, p, -p, q, -q)
    scales = [math.prod(point - other for other in points if other != point) for point in points]
    rows = [[1 / scale, point / scale, point**2 / scale] for point, scale in zip(points, scales, strict=True)]
    rows.append([0.0, 0.0, 1.0])  # the point at infinity
    return np.kron(rows, rows)


def _parts(maps: Tensor) -> list[tuple[int, int]]:
    """First tile, and that after the last, of the share of each thread."""
    tiles, threads = _tiles(maps), torch.get_num_threads()
    return [(tiles * part // threads, tiles * (part + 1) // threads) for part in range(threads)]


def _tiles(maps: Tensor) -> int:
    scans, _, height, width = maps.shape
    return scans * (-(-height // 4)) * (-(-width // 4))


def _channels_last(maps: Tensor) -> Tensor:
    return maps.permute(0, 2, 3, 1).contiguous()


def _channels_second(rows: Tensor) -> Tensor:
    return rows.permute(0, 3, 1, 2)


def _pixels(rows: Tensor) -> np.ndarray:
    """(scan * y * x, channel)."""
    return rows.flatten(0, 2).detach().numpy()
