"""Products and sums of a sparse convolution over the pairs of its rulebook.

Gathering rows, a matrix product and scattering took 1.6 (64 channels) to 3 times (16) as long as these loops, which
leave every row where it is. The channels along a vector are a multiple of two vectors: 16 of float32, 8 of float64.
"""

from numba import njit
from numpy import ndarray

from lidar_rank.kernels.jit import kernel
from lidar_rank.kernels.simd import VECTOR_BYTES, multiply_add, prefetch, vector_load, vector_store

_CACHE_LINE_BYTES = 64
_CACHED_PAIRS = 32  # whose rows stay in the first cache


@kernel
def add_products(
    out: ndarray,
    rows: ndarray,
    weight: ndarray,
    inputs: ndarray,
    outputs: ndarray,
    starts: ndarray,
    ranks: ndarray,
    first_rank: int,
    end_rank: int,
) -> None:
    """Add ``rows[i] @ weight[cell]`` to ``out[o]``, for each pair (i, o) of each kernel cell.

    Args:
        out: (M, B).
        rows: (N, A).
        weight: (cell * A, B).
        inputs: (P,), int32: i of each pair, the pairs of one cell after those of another.
        outputs: (P,), int32: o of each pair; within a cell each occurs once.
        starts: (cell + 1,): first pair of each cell.
        ranks: (M,), int32: of each row of ``out``; the pairs of a cell are sorted by it.
        first_rank: Of the rows of ``out`` that are wanted.
        end_rank: Of the rows after those.
    """
    depth, channels, width = rows.shape[1], out.shape[1], 2 * VECTOR_BYTES // out.itemsize
    for cell in range(starts.shape[0] - 1):
        pair = _first_pair(outputs, ranks, starts[cell], starts[cell + 1], first_rank)
        end = _first_pair(outputs, ranks, pair, starts[cell + 1], end_rank)
        while pair + 6 <= end:
            for ahead in range(pair + 6, min(pair + 12, end)):
                _prefetch_row(rows, inputs[ahead])
                _prefetch_row(out, outputs[ahead])
            for column in range(0, channels, width):
                _add_six(out, rows, weight, inputs, outputs, pair, cell * depth, column)
            pair += 6
        for single in range(pair, end):
            for column in range(0, channels, width):
                _add_one(out, rows, weight, inputs[single], outputs[single], cell * depth, column)


@kernel
def _first_pair(outputs: ndarray, ranks: ndarray, first: int, end: int, rank: int) -> int:
    """First of the pairs from ``first`` on whose output has the rank or a higher one; ``end`` where none has."""
    while first < end:
        middle = (first + end) // 2
        if ranks[outputs[middle]] < rank:
            first = middle + 1
        else:
            end = middle
    return first


@njit(inline="always")
def _add_six(
    out: ndarray,
    rows: ndarray,
    weight: ndarray,
    inputs: ndarray,
    outputs: ndarray,
    pair: int,
    top: int,
    left: int,
) -> None:
    """Two vectors of columns of six pairs: their sums fill twelve registers, which leaves three for the factors."""
    i0, i1, i2, i3, i4, i5 = _six_from(inputs, pair)
    o0, o1, o2, o3, o4, o5 = _six_from(outputs, pair)
    right = left + VECTOR_BYTES // out.itemsize
    a0, b0 = vector_load(out, o0, left), vector_load(out, o0, right)
    a1, b1 = vector_load(out, o1, left), vector_load(out, o1, right)
    a2, b2 = vector_load(out, o2, left), vector_load(out, o2, right)
    a3, b3 = vector_load(out, o3, left), vector_load(out, o3, right)
    a4, b4 = vector_load(out, o4, left), vector_load(out, o4, right)
    a5, b5 = vector_load(out, o5, left), vector_load(out, o5, right)
    for channel in range(rows.shape[1]):
        a, b = vector_load(weight, top + channel, left), vector_load(weight, top + channel, right)
        a0, b0 = multiply_add(rows, i0, channel, a, a0), multiply_add(rows, i0, channel, b, b0)
        a1, b1 = multiply_add(rows, i1, channel, a, a1), multiply_add(rows, i1, channel, b, b1)
        a2, b2 = multiply_add(rows, i2, channel, a, a2), multiply_add(rows, i2, channel, b, b2)
        a3, b3 = multiply_add(rows, i3, channel, a, a3), multiply_add(rows, i3, channel, b, b3)
        a4, b4 = multiply_add(rows, i4, channel, a, a4), multiply_add(rows, i4, channel, b, b4)
        a5, b5 = multiply_add(rows, i5, channel, a, a5), multiply_add(rows, i5, channel, b, b5)
    _store_two(out, o0, left, right, a0, b0)
    _store_two(out, o1, left, right, a1, b1)
    _store_two(out, o2, left, right, a2, b2)
    _store_two(out, o3, left, right, a3, b3)
    _store_two(out, o4, left, right, a4, b4)
    _store_two(out, o5, left, right, a5, b5)


@njit(inline="always")
def _add_one(out: ndarray, rows: ndarray, weight: ndarray, i: int, o: int, top: int, left: int) -> None:
    right = left + VECTOR_BYTES // out.itemsize
    a, b = vector_load(out, o, left), vector_load(out, o, right)
    for channel in range(rows.shape[1]):
        a = multiply_add(rows, i, channel, vector_load(weight, top + channel, left), a)
        b = multiply_add(rows, i, channel, vector_load(weight, top + channel, right), b)
    _store_two(out, o, left, right, a, b)


@kernel
def add_outer_products(
    weight_grad: ndarray,
    rows: ndarray,
    grad: ndarray,
    inputs: ndarray,
    outputs: ndarray,
    starts: ndarray,
    first_cell: int,
    step: int,
) -> None:
    """Add the outer product of ``rows[i]`` and ``grad[o]`` to ``weight_grad[cell]``, for each pair of each kernel cell.

    Args:
        weight_grad: (cell * A, B).
        rows: (N, A), A a multiple of four.
        grad: (M, B).
        inputs: As in :func:`add_products`.
        outputs: Likewise.
        starts: Likewise.
        first_cell: Of the cells that are wanted.
        step: From one wanted cell to the next.
    """
    depth, width = rows.shape[1], 2 * VECTOR_BYTES // rows.itemsize
    for cell in range(first_cell, starts.shape[0] - 1, step):
        for pair in range(starts[cell], starts[cell + 1], _CACHED_PAIRS):
            end = min(pair + _CACHED_PAIRS, starts[cell + 1])
            for ahead in range(end, min(end + _CACHED_PAIRS, starts[cell + 1])):
                _prefetch_row(rows, inputs[ahead])
                _prefetch_row(grad, outputs[ahead])
            for left in range(0, grad.shape[1], width):
                for channel in range(0, depth, 4):
                    _add_four_outer(weight_grad, rows, grad, inputs, outputs, pair, end, cell * depth, channel, left)


@njit(inline="always")
def _add_four_outer(
    weight_grad: ndarray,
    rows: ndarray,
    grad: ndarray,
    inputs: ndarray,
    outputs: ndarray,
    first: int,
    end: int,
    top: int,
    channel: int,
    left: int,
) -> None:
    """Two vectors of columns of four channels of the rows."""
    row, right = top + channel, left + VECTOR_BYTES // rows.itemsize
    a0, b0 = vector_load(weight_grad, row, left), vector_load(weight_grad, row, right)
    a1, b1 = vector_load(weight_grad, row + 1, left), vector_load(weight_grad, row + 1, right)
    a2, b2 = vector_load(weight_grad, row + 2, left), vector_load(weight_grad, row + 2, right)
    a3, b3 = vector_load(weight_grad, row + 3, left), vector_load(weight_grad, row + 3, right)
    for pair in range(first, end):
        i, o = inputs[pair], outputs[pair]
        a, b = vector_load(grad, o, left), vector_load(grad, o, right)
        a0, b0 = multiply_add(rows, i, channel, a, a0), multiply_add(rows, i, channel, b, b0)
        a1, b1 = multiply_add(rows, i, channel + 1, a, a1), multiply_add(rows, i, channel + 1, b, b1)
        a2, b2 = multiply_add(rows, i, channel + 2, a, a2), multiply_add(rows, i, channel + 2, b, b2)
        a3, b3 = multiply_add(rows, i, channel + 3, a, a3), multiply_add(rows, i, channel + 3, b, b3)
    _store_two(weight_grad, row, left, right, a0, b0)
    _store_two(weight_grad, row + 1, left, right, a1, b1)
    _store_two(weight_grad, row + 2, left, right, a2, b2)
    _store_two(weight_grad, row + 3, left, right, a3, b3)


@njit(inline="always")
def _six_from(rows: ndarray, first: int) -> tuple[int, int, int, int, int, int]:
    return rows[first], rows[first + 1], rows[first + 2], rows[first + 3], rows[first + 4], rows[first + 5]


@njit(inline="always")
def _store_two(array: ndarray, row: int, left: int, right: int, a: ndarray, b: ndarray) -> None:
    vector_store(a, array, row, left)
    vector_store(b, array, row, right)


@njit(inline="always")
def _prefetch_row(array: ndarray, row: int) -> None:
    for column in range(0, array.shape[1], _CACHE_LINE_BYTES // array.itemsize):
        prefetch(array, row, column)


@kernel
def rows_to_grid(rows: ndarray, voxels: ndarray, grid: ndarray) -> None:
    """Write the row of each voxel, (scan, z, y, x), to the cells of a grid (scan, channel, z, y, x)."""
    for first in range(0, voxels.shape[0], _CACHED_PAIRS):
        for channel in range(rows.shape[1]):
            for row in range(first, min(first + _CACHED_PAIRS, voxels.shape[0])):
                scan, z, y, x = voxels[row]
                grid[scan, channel, z, y, x] = rows[row, channel]


@kernel
def grid_to_rows(grid: ndarray, voxels: ndarray, rows: ndarray) -> None:
    """Read the row of each voxel from a grid; undoes :func:`rows_to_grid`."""
    for first in range(0, voxels.shape[0], _CACHED_PAIRS):
        for channel in range(rows.shape[1]):
            for row in range(first, min(first + _CACHED_PAIRS, voxels.shape[0])):
                scan, z, y, x = voxels[row]
                rows[row, channel] = grid[scan, channel, z, y, x]
