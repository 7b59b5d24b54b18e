"""SA-SSD's anchor mask against a count by hand and by brute force."""

import numpy as np
import pytest
import torch

from lidar_rank.models.sassd import OccupiedAnchors
from tests.oracles import assign as oracle

GRID = {"voxel_size_m": (0.5, 0.5, 1.0), "point_cloud_range_m": (0, -4, -3, 8, 4, 1)}


def random_anchors(count, seed):
    rng = np.random.default_rng(seed)
    centre = rng.uniform([-1, -5, -2], [9, 5, -1], (count, 3))
    return np.column_stack([centre, rng.uniform(0.3, 4, (count, 2)), np.full(count, 1.5), rng.uniform(-7, 7, count)])


@pytest.mark.parametrize("min_columns", [1, 2, 5])
def test_equals_brute_force(min_columns):
    anchors = random_anchors(400, 0).astype(np.float32)
    mask = OccupiedAnchors(anchors, **GRID, min_columns=min_columns)
    for seed in range(5):
        voxels = np.random.default_rng(seed).integers(0, [4, 16, 16], (40 * seed, 3))
        count = oracle.occupied_columns(anchors, voxels, GRID["voxel_size_m"], GRID["point_cloud_range_m"])
        np.testing.assert_array_equal(mask(voxels), count >= min_columns)
        assert seed == 0 or 0 < mask(voxels).sum() < 400


def test_stacked_voxels_are_one_column():
    anchor = [[2.0, 0.0, -1.0, 2.0, 1.0, 1.5, 0.0]]  # x 1..3 m: columns 2 to 5; y -0.5..0.5 m: rows 7 and 8
    mask = OccupiedAnchors(anchor, **GRID)
    assert mask(np.array([[0, 7, 2], [1, 7, 2], [3, 7, 2]])).tolist() == [False]
    assert mask(np.array([[0, 7, 2], [0, 8, 5]])).tolist() == [True]
    for outside in ([0, 6, 2], [0, 9, 2], [0, 7, 1], [0, 7, 6]):
        assert mask(np.array([[0, 7, 2], outside])).tolist() == [False]


def test_anchors_beyond_the_grid_count_what_is_inside():
    everywhere = np.stack(np.meshgrid([0], np.arange(16), np.arange(16)), -1).reshape(-1, 3)
    anchors = [[x, y, -1, 2.0, 2.0, 1.5, 0] for x, y in [(-0.4, 0), (-2.0, 0), (8.4, 3.9), (20, 20)]]
    assert OccupiedAnchors(anchors, **GRID)(everywhere).tolist() == [True, False, True, False]


def test_sa_ssd_anchors_on_voxel_borders_hold_every_column_of_their_length():
    """Their edges are multiples of the voxel size: rounding must not cost a column. 3.9 m x 1.6 m: 78 x 32 columns."""
    x, y, yaw = np.meshgrid(0.2 + 0.4 * np.arange(8, 60), -39.8 + 0.4 * np.arange(50, 150), [0, np.pi / 2])
    anchors = np.stack([*np.broadcast_arrays(x, y, -1.78, 3.9, 1.6, 1.56, yaw)], -1).reshape(-1, 7)
    voxels = np.stack(np.meshgrid([0], np.arange(1600), np.arange(1408)), -1).reshape(-1, 3)
    grid = {"voxel_size_m": (0.05, 0.05, 0.1), "point_cloud_range_m": (0, -40, -3, 70.4, 40, 1)}
    assert OccupiedAnchors(anchors, **grid, min_columns=78 * 32)(voxels).all()
    assert not OccupiedAnchors(anchors, **grid, min_columns=78 * 32 + 1)(voxels).any()


def test_an_empty_scan_keeps_no_anchor():
    mask = OccupiedAnchors(torch.tensor(random_anchors(5, 1)), **GRID)
    assert mask(torch.zeros(0, 3, dtype=torch.int32)).tolist() == [False] * 5


def test_bad_input_is_named():
    mask = OccupiedAnchors(random_anchors(5, 1), **GRID)
    with pytest.raises(ValueError, match=r"voxel 1 must lie within \[16, 16\] columns \(x, y\), got \[0, 16, 3\]"):
        mask(np.array([[0, 3, 3], [0, 16, 3]]))
    with pytest.raises(ValueError, match="voxel 0 must lie within"):
        mask(np.array([[0, 3, -1]]))
    with pytest.raises(
        ValueError, match=r"voxels must be \(V, 3\) integers \(z, y, x\) of one scan, got int64 \(2, 4\)"
    ):
        mask(np.zeros((2, 4), np.int64))
    with pytest.raises(ValueError, match="got float64"):
        mask(np.zeros((2, 3)))
