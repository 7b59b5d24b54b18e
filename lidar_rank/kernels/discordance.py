"""Number of pairs on which two orders disagree, in O(n log n)."""

import numpy as np
from numpy import ndarray

from lidar_rank.kernels.jit import kernel


@kernel
def count_discordant(key: ndarray, rank: ndarray) -> tuple[int, int, int]:
    """Count the pairs with different keys whose ranks are in the opposite order, or equal.

    Args:
        key: (N,), ascending.
        rank: (N,) int64 within 0..N-1.

    Returns:
        Discordant pairs, pairs with equal rank, and all pairs with different keys.
    """
    # A Fenwick tree over ranks tells in log(N) steps how many items with smaller keys have a rank below a given one.
    seen = np.zeros(len(rank) + 1, np.int64)
    discordant, tied, pairs = 0, 0, 0
    start = 0
    while start < len(key):
        stop = start
        while stop < len(key) and key[stop] == key[start]:
            stop += 1
        for i in range(start, stop):
            below, up_to = _sum_before(seen, rank[i]), _sum_before(seen, rank[i] + 1)
            discordant += start - up_to
            tied += up_to - below
        pairs += start * (stop - start)
        for i in range(start, stop):
            at = rank[i] + 1
            while at < len(seen):
                seen[at] += 1
                at += at & -at
        start = stop
    return discordant, tied, pairs


@kernel
def _sum_before(seen: ndarray, end: int) -> int:
    total = 0
    while end > 0:
        total += seen[end]
        end -= end & -end
    return total
