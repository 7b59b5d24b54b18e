"""Active sites of a batch, and the rulebooks that tell a convolution which sites its kernel joins."""

import functools
import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy import ndarray
from torch import Tensor

from lidar_rank.kernels import sparse_pairs
from lidar_rank.shapes import Int, Int32, Int64


@dataclass(frozen=True)
class Rulebook:
    """Which input row adds to which output row, for each cell of a kernel.

    Source: Graham & van der Maaten, "Submanifold Sparse Convolutional Networks", arXiv:1706.01307, section 3.
    """

    inputs: Int32[ndarray, " pair"]
    """Input row of each pair; pairs are sorted by kernel cell, then by rank."""
    outputs: Int32[ndarray, " pair"]
    """Output row of each pair."""
    starts: Int64[ndarray, " cell_and_end"]
    """First pair of each kernel cell, and the number of pairs."""
    input_ranks: Int32[ndarray, " input"]
    """Position of each input row among the sorted sites, by which threads divide the work."""
    output_ranks: Int32[ndarray, " output"]
    """The same for each output row."""

    @functools.cached_property
    def inverse(self) -> "Rulebook":
        """The same pairs from the outputs to the inputs."""
        return Rulebook(self.outputs, self.inputs, self.starts, self.output_ranks, self.input_ranks)


@dataclass(frozen=True)
class Geometry:
    """The parameters of a strided convolution that decide which sites its kernel joins, each in the order z, y, x."""

    kernel_size: list[int]
    stride: list[int]
    padding: list[int]
    dilation: list[int]
    is_transposed: bool

    def output_shape(self, shape: list[int]) -> list[int]:
        """Cells of the output grid, as a dense convolution has them.

        Raises:
            ValueError: the kernel does not fit into the grid.
        """
        sizes = [self._output_size(axis, shape[axis]) for axis in range(3)]
        if min(sizes) < 1:
            raise ValueError(f"a grid of {shape} cells leaves no output for {self}")
        return sizes

    def _output_size(self, axis: int, size: int) -> int:
        reach = self.dilation[axis] * (self.kernel_size[axis] - 1)
        if self.is_transposed:
            return (size - 1) * self.stride[axis] - 2 * self.padding[axis] + reach + 1
        return (size + 2 * self.padding[axis] - reach - 1) // self.stride[axis] + 1

    def ways(self) -> tuple[ndarray, ndarray, ndarray, int]:
        """The arguments ``steps``, ``shift``, ``phase`` and ``most`` of :func:`sparse_pairs.strided_pairs`."""
        stride, padding = np.array(self.stride), np.array(self.padding)
        offset = np.arange(max(self.kernel_size)) * np.array(self.dilation)[:, None]
        if self.is_transposed:
            steps, shift, phase = np.stack([stride, -padding, np.ones(3, int)], axis=1), offset, np.zeros_like(offset)
        else:
            steps = np.stack([np.ones(3, int), padding, stride], axis=1)
            shift, phase = -(offset // stride[:, None]), offset % stride[:, None]
        most = math.prod(
            int(np.unique(own[:cells], return_counts=True)[1].max())
            for own, cells in zip(phase, self.kernel_size, strict=True)
        )
        return steps, shift, phase, most


class ActiveSites:
    """The occupied voxels of a batch, sorted once for all rulebooks that are built on them.

    Args:
        indices: Scan, z, y, x of each voxel; int32, contiguous, on the CPU.
        shape: Cells of the grid in z, y and x.
        batch_size: Number of scans, some of which may have no voxel.

    Raises:
        ValueError: a voxel lies outside of the grid or the batch, or occurs twice; or the grids of the batch have more
            cells than int64 counts.
    """

    def __init__(self, indices: Int[Tensor, "voxel 4"], shape: list[int], batch_size: int) -> None:
        self.indices, self.shape, self.batch_size = indices, shape, batch_size
        _check_countable(batch_size, shape)
        voxels, extent = indices.numpy(), np.array(shape)
        outside = sparse_pairs.first_outside(voxels, batch_size, extent)
        if outside >= 0:
            raise ValueError(
                f"voxel {outside} at (scan, z, y, x) = {tuple(voxels[outside].tolist())} lies outside of a batch of"
                f" {batch_size} scans of {shape} cells"
            )
        self._order = sparse_pairs.sort_order(sparse_pairs.voxel_keys(voxels, extent))
        self._sorted = voxels[self._order]
        repeated = sparse_pairs.first_repeated(self._sorted)
        if repeated >= 0:
            first, second = self._order[repeated - 1 : repeated + 1]
            raise ValueError(
                f"voxels {first} and {second} are duplicates, both at (scan, z, y, x) ="
                f" {tuple(voxels[first].tolist())}: give each cell one voxel"
            )
        self.ranks = np.empty_like(self._order)
        self.ranks[self._order] = np.arange(len(self._order), dtype=np.int32)
        self._submanifold: dict[tuple[int, ...], Rulebook] = {}

    def submanifold(self, kernel_size: list[int], dilation: list[int]) -> Rulebook:
        """Rulebook of a convolution whose outputs are the inputs' sites; built once."""
        key = (*kernel_size, *dilation)
        if key not in self._submanifold:
            kernel, steps = np.array(kernel_size), np.array(dilation)
            reach, cells = kernel // 2 * steps, math.prod(kernel_size)
            extent = np.array(self.shape) + reach
            _check_countable(self.batch_size, extent)
            # Only a kernel with a centre has opposite cells.
            searched = cells // 2 + 1 if all(size % 2 for size in kernel_size) else cells
            inputs, outputs, starts = sparse_pairs.submanifold_pairs(
                self._sorted, self._order, extent, kernel, steps, reach, searched
            )
            self._submanifold[key] = Rulebook(inputs, outputs, starts, self.ranks, self.ranks)
        return self._submanifold[key]

    def strided(self, geometry: Geometry) -> tuple[Rulebook, "ActiveSites"]:
        """Rulebook of a convolution whose output is active wherever an input reaches, and the sites of the output."""
        shape = geometry.output_shape(self.shape)
        _check_countable(self.batch_size, shape)
        voxels, inputs, outputs, starts = sparse_pairs.strided_pairs(
            self._sorted, self._order, np.array(shape), np.array(geometry.kernel_size), *geometry.ways()
        )
        sites = ActiveSites(torch.from_numpy(voxels), shape, self.batch_size)
        return Rulebook(inputs, outputs, starts, self.ranks, sites.ranks), sites


def _check_countable(batch_size: int, extent: ndarray | list[int]) -> None:
    sizes = [int(size) for size in extent]
    if batch_size * math.prod(sizes) > np.iinfo(np.int64).max:
        raise ValueError(f"{batch_size} scans of {sizes} cells are more cells than int64 counts")
