"""Winograd's convolution of maps with 3 x 3 kernels: a quarter of the multiplications of the definition.

A tile of 4 x 4 outputs depends on 6 x 6 inputs. Inputs, kernel and outputs are transformed to 36 values each, here
called spectra, of which those of the outputs are the products of the other two. So a layer is 36 products of matrices,
(tile, channel) by (channel, channel).

Source: Lavin and Gray, "Fast Algorithms for Convolutional Neural Networks", CVPR 2016, F(4 x 4, 3 x 3). Its points 0,
1, -1, 2, -2 and infinity are here 0, 3/4, -3/4, 3/2, -3/2 and infinity, which halves the rounding errors.

Maps are (pixel, channel): the pixels of a scan row by row, one scan after the other. The tiles are numbered likewise.
Channels are a multiple of two vectors: 16 of float32, 8 of float64.
"""

from typing import Final

import numpy as np
from numba import njit
from numpy import ndarray

from lidar_rank.kernels.jit import kernel
from lidar_rank.kernels.simd import (
    VECTOR_BYTES,
    multiply_add,
    scale_add,
    vector_load,
    vector_load_if,
    vector_store,
    vector_zero,
)

POINTS: Final = (0.75, 1.5)
TILES_AT_ONCE: Final = 24  # their spectra stay in the second cache; a multiple of the six rows of a product

_P, _Q = POINTS
_P2, _Q2, _P3, _Q3 = _P**2, _Q**2, _P**3, _Q**3
_PQ2, _QP2, _P2Q2, _P2_AND_Q2 = _P * _Q2, _Q * _P2, _P2 * _Q2, _P2 + _Q2


@kernel
def convolve_tiles(out: ndarray, maps: ndarray, weight: ndarray, height: int, width: int, first: int, end: int) -> None:
    """Convolve the maps, with a border of one zero, at the outputs of some tiles.

    Args:
        out: (scan * height * width, B).
        maps: (scan * height * width, A).
        weight: (36 * B / W * A, W), where W is the channels of two vectors: of each of the 36 values, of each group of
            W output channels, the rows of the input channels.
        height: Of a map.
        width: Of a map.
        first: Tile.
        end: Tile after the last.
    """
    inputs = np.empty((36 * TILES_AT_ONCE, maps.shape[1]), maps.dtype)
    products = np.empty((36 * TILES_AT_ONCE, out.shape[1]), maps.dtype)
    work = np.empty((36, VECTOR_BYTES // maps.itemsize), maps.dtype)
    for start in range(first, end, TILES_AT_ONCE):
        number = min(TILES_AT_ONCE, end - start)
        for tile in range(number):
            _transform_inputs(inputs, tile, maps, start + tile, height, width, work)
        _multiply(products, inputs, weight, number)
        for tile in range(number):
            _transform_outputs(out, start + tile, height, width, products, tile, work)


@kernel
def add_weight_gradient(
    weight_grad: ndarray, maps: ndarray, grad: ndarray, height: int, width: int, first: int, end: int
) -> None:
    """Add what some tiles contribute to the gradient of the spectra of the kernel.

    Args:
        weight_grad: (36 * A, B).
        maps: (scan * height * width, A).
        grad: (scan * height * width, B), of the outputs.
        height: Of a map.
        width: Of a map.
        first: Tile.
        end: Tile after the last.
    """
    inputs = np.empty((36 * TILES_AT_ONCE, maps.shape[1]), maps.dtype)
    outputs = np.empty((36 * TILES_AT_ONCE, grad.shape[1]), maps.dtype)
    work = np.empty((36, VECTOR_BYTES // maps.itemsize), maps.dtype)
    for start in range(first, end, TILES_AT_ONCE):
        number = min(TILES_AT_ONCE, end - start)
        for tile in range(number):
            _transform_inputs(inputs, tile, maps, start + tile, height, width, work)
            _transform_gradient(outputs, tile, grad, start + tile, height, width, work)
        _add_outer_products(weight_grad, inputs, outputs, number)


@njit(inline="always")
def _corner(tile: int, height: int, width: int) -> tuple[int, int, int]:
    """First pixel of the tile's scan, and row and column of the tile's first output."""
    rows, columns = (height + 3) // 4, (width + 3) // 4
    return tile // (rows * columns) * height * width, tile // columns % rows * 4, tile % columns * 4


@njit
def _transform_inputs(
    spectra: ndarray, place: int, maps: ndarray, tile: int, height: int, width: int, work: ndarray
) -> None:
    scan, top, left = _corner(tile, height, width)
    for channel in range(0, maps.shape[1], VECTOR_BYTES // maps.itemsize):
        for j in range(6):
            x = left - 1 + j
            for i in range(6):
                y = top - 1 + i
                present = y >= 0 and y < height and x >= 0 and x < width
                pixel = scan + min(max(y, 0), height - 1) * width + min(max(x, 0), width - 1)
                vector_store(vector_load_if(present, maps, pixel, channel), work, 6 * j + i, 0)
        for j in range(6):
            _transform_six(work, 6 * j, 1, work, 6 * j, 1, 0)
        for i in range(6):
            _transform_six(work, i, 6, spectra, 6 * i * TILES_AT_ONCE + place, TILES_AT_ONCE, channel)


@njit(inline="always")
def _transform_six(source: ndarray, first: int, step: int, out: ndarray, row: int, out_step: int, channel: int) -> None:
    """Input transform along one axis: multiply six rows by the matrix that Lavin and Gray call B^T."""
    a, b, c = (
        vector_load(source, first, 0),
        vector_load(source, first + step, 0),
        vector_load(source, first + 2 * step, 0),
    )
    d, e = vector_load(source, first + 3 * step, 0), vector_load(source, first + 4 * step, 0)
    f = vector_load(source, first + 5 * step, 0)
    vector_store(scale_add(_P2Q2, a, scale_add(-_P2_AND_Q2, c, e)), out, row, channel)
    even, odd = scale_add(-_Q2, c, e), scale_add(-_PQ2, b, scale_add(_P, d, vector_zero(source)))
    vector_store(scale_add(1.0, odd, even), out, row + out_step, channel)
    vector_store(scale_add(-1.0, odd, even), out, row + 2 * out_step, channel)
    even, odd = scale_add(-_P2, c, e), scale_add(-_QP2, b, scale_add(_Q, d, vector_zero(source)))
    vector_store(scale_add(1.0, odd, even), out, row + 3 * out_step, channel)
    vector_store(scale_add(-1.0, odd, even), out, row + 4 * out_step, channel)
    vector_store(scale_add(_P2Q2, b, scale_add(-_P2_AND_Q2, d, f)), out, row + 5 * out_step, channel)


@njit
def _transform_outputs(
    out: ndarray, tile: int, height: int, width: int, spectra: ndarray, place: int, work: ndarray
) -> None:
    scan, top, left = _corner(tile, height, width)
    for channel in range(0, out.shape[1], VECTOR_BYTES // out.itemsize):
        for i in range(6):
            a, b, c, d = _four_of_six(spectra, 6 * i * TILES_AT_ONCE + place, TILES_AT_ONCE, channel)
            vector_store(a, work, i, 0)
            vector_store(b, work, 6 + i, 0)
            vector_store(c, work, 12 + i, 0)
            vector_store(d, work, 18 + i, 0)
        for j in range(min(4, width - left)):
            a, b, c, d = _four_of_six(work, 6 * j, 1, 0)
            pixel = scan + top * width + left + j
            vector_store(a, out, pixel, channel)
            if top + 1 < height:
                vector_store(b, out, pixel + width, channel)
            if top + 2 < height:
                vector_store(c, out, pixel + 2 * width, channel)
            if top + 3 < height:
                vector_store(d, out, pixel + 3 * width, channel)


@njit(inline="always")
def _four_of_six(source: ndarray, first: int, step: int, channel: int) -> tuple:
    """Output transform along one axis: multiply six rows by A^T."""
    b, c = vector_load(source, first + step, channel), vector_load(source, first + 2 * step, channel)
    d, e = vector_load(source, first + 3 * step, channel), vector_load(source, first + 4 * step, channel)
    even_p, odd_p, even_q, odd_q = (
        scale_add(1.0, b, c),
        scale_add(-1.0, c, b),
        scale_add(1.0, d, e),
        scale_add(-1.0, e, d),
    )
    zero = vector_zero(source)
    return (
        scale_add(1.0, vector_load(source, first, channel), scale_add(1.0, even_p, even_q)),
        scale_add(_P, odd_p, scale_add(_Q, odd_q, zero)),
        scale_add(_P2, even_p, scale_add(_Q2, even_q, zero)),
        scale_add(_P3, odd_p, scale_add(_Q3, odd_q, vector_load(source, first + 5 * step, channel))),
    )


@njit
def _transform_gradient(
    spectra: ndarray, place: int, grad: ndarray, tile: int, height: int, width: int, work: ndarray
) -> None:
    scan, top, left = _corner(tile, height, width)
    for channel in range(0, grad.shape[1], VECTOR_BYTES // grad.itemsize):
        for j in range(4):
            for i in range(4):
                y, x = top + i, left + j
                pixel = scan + min(y, height - 1) * width + min(x, width - 1)
                vector_store(vector_load_if(y < height and x < width, grad, pixel, channel), work, 6 * j + i, 0)
        for j in range(4):
            _six_from_four(work, 6 * j, 1, work, 6 * j, 1, 0)
        for i in range(6):
            _six_from_four(work, i, 6, spectra, 6 * i * TILES_AT_ONCE + place, TILES_AT_ONCE, channel)


@njit(inline="always")
def _six_from_four(source: ndarray, first: int, step: int, out: ndarray, row: int, out_step: int, channel: int) -> None:
    """Transposed output transform along one axis: multiply four rows by A."""
    a, b = vector_load(source, first, 0), vector_load(source, first + step, 0)
    c, d = vector_load(source, first + 2 * step, 0), vector_load(source, first + 3 * step, 0)
    vector_store(a, out, row, channel)
    even, odd = scale_add(_P2, c, a), scale_add(_P, b, scale_add(_P3, d, vector_zero(source)))
    vector_store(scale_add(1.0, odd, even), out, row + out_step, channel)
    vector_store(scale_add(-1.0, odd, even), out, row + 2 * out_step, channel)
    even, odd = scale_add(_Q2, c, a), scale_add(_Q, b, scale_add(_Q3, d, vector_zero(source)))
    vector_store(scale_add(1.0, odd, even), out, row + 3 * out_step, channel)
    vector_store(scale_add(-1.0, odd, even), out, row + 4 * out_step, channel)
    vector_store(d, out, row + 5 * out_step, channel)


@njit
def _multiply(products: ndarray, inputs: ndarray, weight: ndarray, tiles: int) -> None:
    depth, groups = inputs.shape[1], products.shape[1] // weight.shape[1]
    for value in range(36):
        for group in range(groups):
            for tile in range(0, tiles, 6):
                row = value * TILES_AT_ONCE + tile
                _multiply_six(products, inputs, weight, row, (value * groups + group) * depth, group * weight.shape[1])


@njit(inline="always")
def _multiply_six(products: ndarray, inputs: ndarray, weight: ndarray, row: int, top: int, left: int) -> None:
    """Two vectors of columns of six rows: their sums fill twelve registers, which leaves three for the factors."""
    half = weight.shape[1] // 2
    a0 = b0 = a1 = b1 = a2 = b2 = a3 = b3 = a4 = b4 = a5 = b5 = vector_zero(products)
    for channel in range(inputs.shape[1]):
        a, b = vector_load(weight, top + channel, 0), vector_load(weight, top + channel, half)
        a0, b0 = multiply_add(inputs, row, channel, a, a0), multiply_add(inputs, row, channel, b, b0)
        a1, b1 = multiply_add(inputs, row + 1, channel, a, a1), multiply_add(inputs, row + 1, channel, b, b1)
        a2, b2 = multiply_add(inputs, row + 2, channel, a, a2), multiply_add(inputs, row + 2, channel, b, b2)
        a3, b3 = multiply_add(inputs, row + 3, channel, a, a3), multiply_add(inputs, row + 3, channel, b, b3)
        a4, b4 = multiply_add(inputs, row + 4, channel, a, a4), multiply_add(inputs, row + 4, channel, b, b4)
        a5, b5 = multiply_add(inputs, row + 5, channel, a, a5), multiply_add(inputs, row + 5, channel, b, b5)
    _store_two(products, row, left, half, a0, b0)
    _store_two(products, row + 1, left, half, a1, b1)
    _store_two(products, row + 2, left, half, a2, b2)
    _store_two(products, row + 3, left, half, a3, b3)
    _store_two(products, row + 4, left, half, a4, b4)
    _store_two(products, row + 5, left, half, a5, b5)


@njit
def _add_outer_products(weight_grad: ndarray, inputs: ndarray, outputs: ndarray, tiles: int) -> None:
    depth, width = inputs.shape[1], 2 * VECTOR_BYTES // inputs.itemsize
    for value in range(36):
        for left in range(0, outputs.shape[1], width):
            for channel in range(0, depth, 4):
                _add_four_outer(
                    weight_grad, inputs, outputs, value * TILES_AT_ONCE, tiles, value * depth + channel, channel, left
                )


@njit(inline="always")
def _add_four_outer(
    weight_grad: ndarray, inputs: ndarray, outputs: ndarray, first: int, tiles: int, row: int, channel: int, left: int
) -> None:
    half = VECTOR_BYTES // inputs.itemsize
    a0, b0 = vector_load(weight_grad, row, left), vector_load(weight_grad, row, left + half)
    a1, b1 = vector_load(weight_grad, row + 1, left), vector_load(weight_grad, row + 1, left + half)
    a2, b2 = vector_load(weight_grad, row + 2, left), vector_load(weight_grad, row + 2, left + half)
    a3, b3 = vector_load(weight_grad, row + 3, left), vector_load(weight_grad, row + 3, left + half)
    for tile in range(first, first + tiles):
        a, b = vector_load(outputs, tile, left), vector_load(outputs, tile, left + half)
        a0, b0 = multiply_add(inputs, tile, channel, a, a0), multiply_add(inputs, tile, channel, b, b0)
        a1, b1 = multiply_add(inputs, tile, channel + 1, a, a1), multiply_add(inputs, tile, channel + 1, b, b1)
        a2, b2 = multiply_add(inputs, tile, channel + 2, a, a2), multiply_add(inputs, tile, channel + 2, b, b2)
        a3, b3 = multiply_add(inputs, tile, channel + 3, a, a3), multiply_add(inputs, tile, channel + 3, b, b3)
    _store_two(weight_grad, row, left, half, a0, b0)
    _store_two(weight_grad, row + 1, left, half, a1, b1)
    _store_two(weight_grad, row + 2, left, half, a2, b2)
    _store_two(weight_grad, row + 3, left, half, a3, b3)


@njit(inline="always")
def _store_two(array: ndarray, row: int, left: int, half: int, a: ndarray, b: ndarray) -> None:
    vector_store(a, array, row, left)
    vector_store(b, array, row, left + half)
