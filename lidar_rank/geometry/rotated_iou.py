"""IoU of every box of one set with every box of another, on numpy arrays.

Boxes are upright and turned about the vertical axis. Their columns are (x, y, length, width, yaw) seen from above and
(x, y, z_bottom, length, width, height, yaw) in 3D, in metres and radians in the LiDAR frame.
"""

from concurrent.futures import ThreadPoolExecutor
from itertools import repeat
from typing import Final

import numpy as np
from numba import config as numba_config
from numpy import ndarray

from lidar_rank.geometry.boxes import checked_boxes
from lidar_rank.geometry.columns import BEV_COLUMNS
from lidar_rank.kernels.rotated_iou import fill_pairwise_iou
from lidar_rank.shapes import Float, Shaped

_PAIRS_WORTH_A_THREAD: Final = 50_000


def pairwise_iou_bev(a: Shaped[ndarray, "n 5"], b: Shaped[ndarray, "m 5"]) -> Float[ndarray, "n m"]:
    """IoU of rotated rectangles seen from above.

    Args:
        a: (x, y, length, width, yaw) in metres and radians, of any real dtype.
        b: The same columns.

    Returns:
        float64 in [0, 1]; exactly 1 for a box with itself, 0 where a box has no area.

    Raises:
        ValueError: the number of columns is wrong, a value is not finite, or a size is negative.

    Example:
        >>> import numpy as np
        >>> pairwise_iou_bev(np.array([[0, 0, 4, 2, 0]]), np.array([[0, 0, 4, 2, 0], [2, 0, 4, 2, 0], [9, 9, 4, 2, 1]]))
        array([[1.        , 0.33333333, 0.        ]])
    """
    a, b = (checked_boxes(*side, BEV_COLUMNS, allow_empty=True) for side in ((a, "a"), (b, "b")))
    return _pairwise_iou(_stand_up(a), _stand_up(b))


def pairwise_iou_3d(a: Shaped[ndarray, "n 7"], b: Shaped[ndarray, "m 7"]) -> Float[ndarray, "n m"]:
    """IoU of upright 3D boxes.

    Args:
        a: (x, y, z_bottom, length, width, height, yaw) in metres and radians, of any real dtype.
        b: The same columns.

    Returns:
        float64 in [0, 1]; exactly 1 for a box with itself, 0 where a box has no volume.

    Raises:
        ValueError: the number of columns is wrong, a value is not finite, or a size is negative.
    """
    return _pairwise_iou(*(checked_boxes(*side, allow_empty=True) for side in ((a, "a"), (b, "b"))))


def _stand_up(boxes: Float[ndarray, "n 5"]) -> Float[ndarray, "n 7"]:
    """Give boxes a height of 1 m on the ground: their 3D IoU is the IoU seen from above."""
    return np.insert(boxes, (2, 4), (0.0, 1.0), axis=1)


def _pairwise_iou(a: Float[ndarray, "n 7"], b: Float[ndarray, "m 7"]) -> Float[ndarray, "n m"]:
    iou = np.zeros((len(a), len(b)))
    threads = min(int(numba_config.NUMBA_NUM_THREADS), 1 + iou.size // _PAIRS_WORTH_A_THREAD)
    # After numba's own parallel loops, a process that forks may abort, and data loaders fork. After a thread pool it
    # does not. There are more parts than threads because rows differ in how many boxes they overlap.
    with ThreadPoolExecutor(threads) as pool:
        parts = 4 * threads
        list(pool.map(fill_pairwise_iou, np.array_split(a, parts), repeat(b), np.array_split(iou, parts)))
    return iou
