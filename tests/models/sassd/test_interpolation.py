"""Three-nearest search against scipy's tree, interpolation against the formula written out."""

import math

import numpy as np
import pytest
import torch
from scipy.spatial import cKDTree
from torch import Tensor
from torch.testing import assert_close

from lidar_rank.models.sassd import interpolate, three_nearest
from lidar_rank.models.sassd.interpolation import _search_on_cpu, _search_on_device

SEARCHES = [_search_on_cpu, _search_on_device]


def scene(points: int, voxels: int, scans: int = 3, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Points (P, 4) and voxel centres (V, 4) of a batch in no order; a street is long, wide and flat."""
    generator = torch.Generator().manual_seed(seed)
    spread = torch.tensor([70.0, 80.0, 4.0])

    def cloud(count: int) -> Tensor:
        scan = torch.randint(0, scans, (count, 1), generator=generator)
        return torch.cat([scan, torch.rand(count, 3, generator=generator) * spread], dim=1)

    return cloud(points), cloud(voxels)


def test_finds_the_neighbours_that_a_tree_finds_in_each_scan():
    points, voxels = scene(4000, 6000)
    rows, distances = three_nearest(points, voxels)
    for scan in range(3):
        here, there = points[:, 0] == scan, torch.nonzero(voxels[:, 0] == scan).squeeze(1).numpy()
        tree = cKDTree(voxels[there, 1:].double().numpy())
        want, found = tree.query(points[here, 1:].double().numpy(), k=3)
        assert_close(distances[here].double(), torch.from_numpy(want), rtol=1e-5, atol=1e-5)
        np.testing.assert_array_equal(rows[here].numpy(), there[found])


@pytest.mark.parametrize("search", SEARCHES)
def test_each_search_agrees_with_brute_force_on_a_grid_full_of_ties(search):
    generator = torch.Generator().manual_seed(1)
    voxels = torch.randint(0, 6, (300, 3), generator=generator).float().unique(dim=0)
    points = torch.randint(-2, 16, (9000, 3), generator=generator) * 0.5
    rows, distances = search(points, voxels)
    every = (points[:, None] - voxels).norm(dim=2)
    assert_close(distances, every.sort(dim=1).values[:, :3], rtol=0, atol=1e-5)
    assert_close(every.gather(1, rows), distances, rtol=0, atol=1e-5)
    assert all(len(set(row)) == 3 for row in rows.tolist()), "no voxel counts twice"


def test_weights_are_inverse_distances_and_scans_do_not_mix():
    voxels = torch.tensor([[0, 0, 0, 0], [0, 3, 0, 0], [0, 0, 4, 0], [1, 0, 0, 0.1]]).float()
    features = torch.tensor([[1.0], [10.0], [100.0], [1e6]])
    got = interpolate(torch.tensor([[0.0, 0.0, 0.0, 2.0]]), voxels, features)
    distances = [2.0, math.hypot(3, 2), math.hypot(4, 2)]
    weights = [1 / (d + 1e-8) for d in distances]
    want = sum(w * f for w, f in zip(weights, [1, 10, 100], strict=True)) / sum(weights)
    assert got.item() == pytest.approx(want, rel=1e-6)


def test_a_point_on_a_voxel_centre_reads_that_voxel():
    _, voxels = scene(1, 50, scans=1)
    features = torch.arange(50.0)[:, None]
    assert_close(interpolate(voxels, voxels, features), features, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("search", SEARCHES)
@pytest.mark.parametrize("count", [1, 2])
def test_a_scan_with_fewer_than_three_voxels_uses_those(count, search, monkeypatch):
    monkeypatch.setattr("lidar_rank.models.sassd.interpolation._search_on_cpu", search)
    voxels = torch.tensor([[0.0, 1, 0, 0], [0.0, -1, 0, 0]])[:count]
    got = interpolate(torch.zeros(1, 4), voxels, torch.tensor([[4.0], [8.0]])[:count])
    assert got.item() == [4.0, 6.0][count - 1]


@pytest.mark.parametrize(("points", "voxels"), [(0, 5), (4, 0), (0, 0)])
def test_nothing_to_read_gives_zeros_with_a_graph(points, voxels):
    features = torch.ones(voxels, 2, requires_grad=True)
    got = interpolate(torch.zeros(points, 4), torch.ones(voxels, 4), features)
    assert got.shape == (points, 2)
    assert got.abs().sum() == 0
    (gradient,) = torch.autograd.grad(got.sum(), features)
    assert gradient.abs().sum() == 0


def test_gradient_of_features_is_the_weights():
    points, voxels = scene(20, 30, scans=1)
    features = torch.randn(30, 4, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda f: interpolate(points, voxels, f), (features,))


def test_wrong_columns_are_named():
    with pytest.raises(ValueError, match=r"references must be \(N, 4\).*got shape \(5, 3\)"):
        three_nearest(torch.zeros(2, 4), torch.zeros(5, 3))
