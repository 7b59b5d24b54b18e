"""The operations on features, with their gradients."""

import functools
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from lidar_rank.kernels.simd import channels_at_once
from lidar_rank.kernels.sparse_products import add_outer_products, add_products, grid_to_rows, rows_to_grid
from lidar_rank.shapes import Float
from lidar_rank.sparse.native.rulebook import ActiveSites, Rulebook
from lidar_rank.threads import run_at_once


def convolve(
    features: Float[Tensor, "input in_channel"],
    weight: Float[Tensor, "out_channel cell in_channel"],
    rulebook: Rulebook,
) -> Float[Tensor, "output out_channel"]:
    """Sum, at each output row, over all pairs that end there, the product of input row and weight of the kernel cell.

    Both tensors are float32, or both float64. As many threads as torch uses share the work; the result does not depend
    on their number.
    """
    return _Convolve.apply(features, weight, rulebook)


def to_grid(features: Float[Tensor, "voxel channel"], sites: ActiveSites) -> Float[Tensor, "scan channel z y x"]:
    """Features of float32 or float64 in all cells of a grid, zero where there is no voxel."""
    return _ToGrid.apply(features, sites)


class _Convolve(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, features: Tensor, weight: Tensor, rulebook: Rulebook) -> Tensor:
        ctx.save_for_backward(features, weight)
        ctx.rulebook = rulebook
        return _sum_of_products(features.detach(), weight.detach().permute(1, 2, 0), rulebook)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        features, weight = ctx.saved_tensors
        features_grad = weight_grad = None
        if ctx.needs_input_grad[0]:
            features_grad = _sum_of_products(grad, weight.permute(1, 0, 2), ctx.rulebook.inverse)
        if ctx.needs_input_grad[1]:
            weight_grad = _sum_of_outer_products(features, grad, ctx.rulebook).permute(2, 0, 1).contiguous()
        return features_grad, weight_grad, None


class _ToGrid(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, features: Tensor, sites: ActiveSites) -> Tensor:
        ctx.sites = sites
        grid = features.new_zeros(sites.batch_size, features.shape[1], *sites.shape)
        rows_to_grid(features.detach().contiguous().numpy(), sites.indices.numpy(), grid.numpy())
        return grid

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        features_grad = grad.new_empty(len(ctx.sites.indices), grad.shape[1])
        grid_to_rows(grad.contiguous().numpy(), ctx.sites.indices.numpy(), features_grad.numpy())
        return features_grad, None


def _sum_of_products(rows: Tensor, weight: Tensor, rulebook: Rulebook) -> Tensor:
    """(output, b) from (input, a) and (cell, a, b)."""
    rows, weight, channels = rows.contiguous(), _padded(weight, channels_at_once(weight.itemsize)), weight.shape[2]
    num, threads = len(rulebook.output_ranks), torch.get_num_threads()
    out = rows.new_zeros(num, weight.shape[2])
    arrays = out.numpy(), rows.numpy(), weight.flatten(0, 1).numpy(), rulebook.inputs, rulebook.outputs, rulebook.starts
    run_at_once(
        functools.partial(
            add_products, *arrays, rulebook.output_ranks, num * part // threads, num * (part + 1) // threads
        )
        for part in range(threads)
    )
    return out[:, :channels].contiguous()


def _sum_of_outer_products(rows: Tensor, grad: Tensor, rulebook: Rulebook) -> Tensor:
    """(cell, a, b) from (input, a) and (output, b)."""
    shape, threads = (rows.shape[1], grad.shape[1]), torch.get_num_threads()
    rows, grad = _padded(rows, 4), _padded(grad, channels_at_once(grad.itemsize))
    cells = len(rulebook.starts) - 1
    out = rows.new_zeros(cells * rows.shape[1], grad.shape[1])
    arrays = out.numpy(), rows.numpy(), grad.numpy(), rulebook.inputs, rulebook.outputs, rulebook.starts
    run_at_once(functools.partial(add_outer_products, *arrays, part, threads) for part in range(threads))
    return out.unflatten(0, (cells, -1))[:, : shape[0], : shape[1]]


def _padded(tensor: Tensor, multiple: int) -> Tensor:
    """The tensor with zeros after its last axis, up to a multiple that the kernels want."""
    missing = -tensor.shape[-1] % multiple
    return (F.pad(tensor, (0, missing)) if missing else tensor).contiguous()
