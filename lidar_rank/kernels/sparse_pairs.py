"""Which input voxel adds to which output voxel of a sparse convolution.

Voxels are compared by their key, the index of their cell in the grid of the whole batch. Neighbours are found by a walk
along the sorted keys: no grid is allocated, and nothing is hashed.
"""

import numpy as np
from numpy import ndarray

from lidar_rank.kernels.jit import kernel

_DIGIT_BITS = 11


@kernel
def first_outside(voxels: ndarray, batch_size: int, shape: ndarray) -> int:
    """Row of the first voxel, (scan, z, y, x), that lies outside of the batch or the grid; -1 where there is none."""
    for row in range(voxels.shape[0]):
        if voxels[row, 0] < 0 or voxels[row, 0] >= batch_size:
            return row
        for axis in range(3):
            if voxels[row, axis + 1] < 0 or voxels[row, axis + 1] >= shape[axis]:
                return row
    return -1


@kernel
def first_repeated(voxels: ndarray) -> int:
    """Row of the first voxel that equals the one before it; -1 where there is none."""
    for row in range(1, voxels.shape[0]):
        if (
            voxels[row, 0] == voxels[row - 1, 0]
            and voxels[row, 1] == voxels[row - 1, 1]
            and voxels[row, 2] == voxels[row - 1, 2]
            and voxels[row, 3] == voxels[row - 1, 3]
        ):
            return row
    return -1


@kernel
def voxel_keys(voxels: ndarray, extent: ndarray) -> ndarray:
    """Index of each voxel, (scan, z, y, x), in a grid of ``extent`` (z, y, x) cells a scan: (N,), int64."""
    keys = np.empty(voxels.shape[0], dtype=np.int64)
    for row in range(voxels.shape[0]):
        plane = np.int64(voxels[row, 0]) * extent[0] + voxels[row, 1]
        keys[row] = (plane * extent[1] + voxels[row, 2]) * extent[2] + voxels[row, 3]
    return keys


@kernel
def sort_order(keys: ndarray) -> ndarray:
    """Rows that sort non-negative int64 keys, stable: (N,), int32. A radix sort of the bits that the keys use."""
    num = keys.shape[0]
    order = np.arange(num).astype(np.int32)
    largest, is_sorted = np.int64(0), True
    for row in range(num):
        largest = max(largest, keys[row])
        is_sorted = is_sorted and (row == 0 or keys[row - 1] <= keys[row])
    if is_sorted:
        return order
    mask = (1 << _DIGIT_BITS) - 1
    keys, next_keys, next_order = keys.copy(), np.empty_like(keys), np.empty_like(order)
    shift = 0
    while shift < 63 and largest >> shift:
        starts = np.zeros(mask + 2, dtype=np.int64)
        for row in range(num):
            starts[((keys[row] >> shift) & mask) + 1] += 1
        for digit in range(mask):
            starts[digit + 1] += starts[digit]
        for row in range(num):
            digit = (keys[row] >> shift) & mask
            place = starts[digit]
            starts[digit] += 1
            next_keys[place], next_order[place] = keys[row], order[row]
        keys, next_keys = next_keys, keys
        order, next_order = next_order, order
        shift += _DIGIT_BITS
    return order


@kernel
def submanifold_pairs(
    voxels: ndarray,
    order: ndarray,
    extent: ndarray,
    kernel: ndarray,
    dilation: ndarray,
    reach: ndarray,
    searched: int,
) -> tuple[ndarray, ndarray, ndarray]:
    """Pairs of voxels that a kernel joins where the outputs are the inputs.

    Args:
        voxels: (N, 4), int32: scan, z, y, x; sorted.
        order: (N,), int32: row of each voxel.
        extent: (3,) cells of the grid in z, y and x, with ``reach`` empty ones after each plane, line and row, so that
            no step across a border meets a voxel.
        kernel: (3,) cells of the kernel.
        dilation: (3,) grid cells from one kernel cell to the next.
        reach: (3,) grid cells from the first kernel cell to the centre.
        searched: How many kernel cells, in the order z, y, x, are searched; all, or those up to the centre. The pairs
            of the others are those of the opposite cell, swapped.

    Returns:
        Input row (P,) and output row (P,) of each pair, int32, by kernel cell and then by output voxel; and where the
        pairs of each kernel cell start, (cell + 1,).
    """
    num = voxels.shape[0]
    found = np.empty((searched, 2, num), dtype=np.int32)
    counts = np.zeros(searched, dtype=np.int64)
    keys = voxel_keys(voxels, extent)
    for first_cell in range(0, searched, kernel[2]):
        line = first_cell // kernel[2]
        dz = line // kernel[1] * dilation[0] - reach[0]
        dy = line % kernel[1] * dilation[1] - reach[1]
        step = (dz * extent[1] + dy) * extent[2] - reach[2]
        width = (min(kernel[2], searched - first_cell) - 1) * dilation[2]
        start = 0
        for voxel in range(num):
            left = keys[voxel] + step
            while start < num and keys[start] < left:
                start += 1
            other = start
            while other < num and keys[other] <= left + width:
                dx = keys[other] - left
                if dilation[2] == 1 or dx % dilation[2] == 0:
                    cell = first_cell + dx // dilation[2]
                    found[cell, 0, counts[cell]], found[cell, 1, counts[cell]] = order[other], order[voxel]
                    counts[cell] += 1
                other += 1
    return _with_opposite_cells(found, counts, kernel[0] * kernel[1] * kernel[2])


@kernel
def _with_opposite_cells(found: ndarray, counts: ndarray, cells: int) -> tuple[ndarray, ndarray, ndarray]:
    """Join the pairs of all cells; those of a cell that was not searched are the opposite cell's, swapped."""
    searched = counts.shape[0]
    starts = np.zeros(cells + 1, dtype=np.int64)
    for cell in range(cells):
        starts[cell + 1] = starts[cell] + counts[cell if cell < searched else cells - 1 - cell]
    inputs = np.empty(starts[cells], dtype=np.int32)
    outputs = np.empty(starts[cells], dtype=np.int32)
    for cell in range(cells):
        is_swapped = cell >= searched
        source, first, second = (cells - 1 - cell, 1, 0) if is_swapped else (cell, 0, 1)
        for pair in range(starts[cell + 1] - starts[cell]):
            inputs[starts[cell] + pair] = found[source, first, pair]
            outputs[starts[cell] + pair] = found[source, second, pair]
    return inputs, outputs, starts


@kernel
def strided_pairs(
    voxels: ndarray,
    order: ndarray,
    out_shape: ndarray,
    kernel: ndarray,
    steps: ndarray,
    shift: ndarray,
    phase: ndarray,
    most: int,
) -> tuple[ndarray, ndarray, ndarray, ndarray]:
    """Output voxels of a convolution, which are all that an input voxel reaches, and the pairs that its kernel joins.

    Along each axis, coordinate c of an input gives (base, remainder) = divmod(factor * c + offset, divisor). The kernel
    cells whose phase is the remainder lead from there to the output coordinate base + shift.

    Args:
        voxels: (N, 4), int32: scan, z, y, x; sorted.
        order: (N,), int32: row of each voxel.
        out_shape: (3,) cells of the output grid in z, y and x.
        kernel: (3,) cells of the kernel.
        steps: (3, 3): factor, offset and divisor of each axis.
        shift: (3, cell) along each axis.
        phase: (3, cell) along each axis.
        most: Outputs that one input can reach.

    Returns:
        Output voxels (M, 4), int32, sorted; input row (P,) and output row (P,) of each pair, int32, by kernel cell and
        then by output voxel; and where the pairs of each kernel cell start, (cell + 1,).
    """
    keys, rows, cells = _reached(voxels, order, out_shape, kernel, steps, shift, phase, most)
    starts = np.zeros(kernel[0] * kernel[1] * kernel[2] + 1, dtype=np.int64)
    for cell in cells:
        starts[cell + 1] += 1
    for cell in range(1, starts.shape[0]):
        starts[cell] += starts[cell - 1]
    places = starts.copy()
    inputs, outputs = np.empty(rows.shape[0], dtype=np.int32), np.empty(rows.shape[0], dtype=np.int32)
    out_voxels = np.empty((keys.shape[0], 4), dtype=np.int32)
    last_key, num = np.int64(-1), 0
    for pair in sort_order(keys):
        if keys[pair] != last_key:
            last_key = keys[pair]
            plane, line = last_key // (out_shape[1] * out_shape[2]), last_key // out_shape[2]
            out_voxels[num, 0], out_voxels[num, 1] = plane // out_shape[0], plane % out_shape[0]
            out_voxels[num, 2], out_voxels[num, 3] = line % out_shape[1], last_key % out_shape[2]
            num += 1
        place = places[cells[pair]]
        places[cells[pair]] += 1
        inputs[place], outputs[place] = rows[pair], num - 1
    return out_voxels[:num], inputs, outputs, starts


@kernel
def _reached(
    voxels: ndarray,
    order: ndarray,
    out_shape: ndarray,
    kernel: ndarray,
    steps: ndarray,
    shift: ndarray,
    phase: ndarray,
    most: int,
) -> tuple[ndarray, ndarray, ndarray]:
    """Key of the output voxel, row of the input voxel and kernel cell of every pair, by input voxel."""
    keys = np.empty(voxels.shape[0] * most, dtype=np.int64)
    rows = np.empty(voxels.shape[0] * most, dtype=np.int32)
    cells = np.empty(voxels.shape[0] * most, dtype=np.int32)
    ways, cell_of, place_of = np.zeros(3, dtype=np.int64), np.empty_like(shift), np.empty_like(shift)
    num = 0
    for voxel in range(voxels.shape[0]):
        for axis in range(3):
            if voxel and voxels[voxel, axis + 1] == voxels[voxel - 1, axis + 1]:
                continue  # sorted voxels seldom change in z and y
            base, remainder = divmod(steps[axis, 0] * voxels[voxel, axis + 1] + steps[axis, 1], steps[axis, 2])
            ways[axis] = 0
            for cell in range(kernel[axis]):
                place = base + shift[axis, cell]
                if phase[axis, cell] == remainder and 0 <= place < out_shape[axis]:
                    cell_of[axis, ways[axis]], place_of[axis, ways[axis]] = cell, place
                    ways[axis] += 1
        for a in range(ways[0]):
            plane = voxels[voxel, 0] * out_shape[0] + place_of[0, a]
            for b in range(ways[1]):
                line = plane * out_shape[1] + place_of[1, b]
                for c in range(ways[2]):
                    keys[num] = line * out_shape[2] + place_of[2, c]
                    rows[num] = order[voxel]
                    cells[num] = (cell_of[0, a] * kernel[1] + cell_of[1, b]) * kernel[2] + cell_of[2, c]
                    num += 1
    return keys[:num], rows[:num], cells[:num]
