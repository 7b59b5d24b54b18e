"""Three-nearest search against scipy's tree, interpolation against the formula written out."""

import math
from contextlib import nullcontext

import numpy as np
import pytest
import torch
from scipy.spatial import cKDTree
from torch import Tensor
from torch.testing import assert_close

from lidar_rank.models.sassd import interpolate, three_nearest
from tests import reads

WAYS = ["kernels", *reads.DEVICES]
SIZE_M = (0.2, 0.2, 0.4)


def search(way: str, points: Tensor, voxels: Tensor, size_m=SIZE_M) -> tuple[Tensor, Tensor, list]:
    """Rows and distances on a CPU, found by the kernels or as on a GPU, and the reads of the latter."""
    device = "cpu" if way == "kernels" else way
    points, voxels = points.to(device), voxels.to(device)
    with nullcontext([]) if way == "kernels" else reads.recorded(device) as found:
        rows, distances_m = three_nearest(points, voxels, size_m)
    return rows.cpu(), distances_m.cpu(), found


def scene(points: int, voxels: int, scans: int = 3, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Points (P, 4) and voxel centres (V, 4) of a batch in no order; a street is long, wide and flat.

    Half of the voxels are close together, the others far from each other; most points lie in a voxel.
    """
    generator = torch.Generator().manual_seed(seed)
    few, many = torch.tensor([20, 20, 4]), torch.tensor([350, 400, 10])
    extent = torch.where(torch.arange(voxels)[:, None] % 2 == 0, few, many)
    cells = torch.rand(voxels, 3, generator=generator) * extent
    scan = torch.randint(0, scans, (voxels, 1), generator=generator)
    cells = torch.cat([scan, cells.floor().long()], dim=1).unique(dim=0)
    cells = cells[torch.randperm(len(cells), generator=generator)]
    centres = (cells[:, 1:] + 0.5) * torch.tensor(SIZE_M) + torch.tensor([0, -40, -3])
    own = torch.randint(0, len(cells), (points,), generator=generator)
    place = centres[own] + (torch.rand(points, 3, generator=generator) - 0.5) * torch.tensor(SIZE_M)
    return torch.cat([cells[own, :1], place], dim=1), torch.cat([cells[:, :1], centres], dim=1)


@pytest.mark.parametrize("way", WAYS)
def test_finds_the_neighbours_that_a_tree_finds_in_each_scan(way):
    points, voxels = scene(4000, 6000)
    points[::50, 1:] += 3.0  # away from all voxels
    rows, distances, found = search(way, points, voxels)
    assert [read.what for read in found] in ([], ["nonzero"], ["synchronize"]), "the points that are far from voxels"
    for scan in range(3):
        here, there = points[:, 0] == scan, torch.nonzero(voxels[:, 0] == scan).squeeze(1).numpy()
        tree = cKDTree(voxels[there, 1:].double().numpy())
        want, nearest = tree.query(points[here, 1:].double().numpy(), k=4)
        assert_close(distances[here].double(), torch.from_numpy(want[:, :3]), rtol=1e-5, atol=1e-5)
        alone = (np.diff(want) > 1e-4).all(1)  # float32 cannot order the others
        assert alone.mean() > 0.9
        np.testing.assert_array_equal(rows[here].numpy()[alone], there[nearest[alone, :3]])


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("size_m", [(1.0, 1.0, 1.0), (1.0, 1.0, 3.0), (2.0, 1.0, 1.0)])
def test_agrees_with_brute_force_on_a_grid_full_of_ties(way, size_m):
    generator = torch.Generator().manual_seed(1)
    cells = torch.randint(0, 6, (120, 3), generator=generator).float().unique(dim=0)
    voxels = cells * torch.tensor(size_m)
    points = torch.randint(-2, 16, (9000, 3), generator=generator) * 0.5
    with_scan = [torch.nn.functional.pad(table, (1, 0)) for table in (points, voxels)]
    rows, distances, _ = search(way, *with_scan, size_m)
    every = (points[:, None] - voxels).norm(dim=2)
    assert_close(distances, every.sort(dim=1).values[:, :3], rtol=0, atol=1e-5)
    assert_close(every.gather(1, rows), distances, rtol=0, atol=1e-5)
    assert all(len(set(row)) == 3 for row in rows.tolist()), "no voxel counts twice"


def test_most_points_need_no_search_among_all_voxels(monkeypatch):
    searched = []

    def everywhere(points: Tensor, _: Tensor) -> tuple[Tensor, Tensor]:
        searched.append(len(points))
        return torch.zeros(len(points), 3, dtype=torch.int64), torch.zeros(len(points), 3)

    monkeypatch.setattr("lidar_rank.models.sassd.interpolation._search_everywhere", everywhere)
    cells = torch.cartesian_prod(torch.arange(40), torch.arange(40), torch.arange(2))
    voxels = torch.nn.functional.pad((cells + 0.5) * torch.tensor(SIZE_M), (1, 0))
    with reads.on_device("cpu"):
        three_nearest(voxels + 0.01, voxels, SIZE_M)
    assert searched == [0]


def test_weights_are_inverse_distances_and_scans_do_not_mix():
    voxels = torch.tensor([[0, 0, 0, 0], [0, 3, 0, 0], [0, 0, 4, 0], [1, 0, 0, 0.1]]).float()
    features = torch.tensor([[1.0], [10.0], [100.0], [1e6]])
    got = interpolate(torch.tensor([[0.0, 0.0, 0.0, 2.0]]), voxels, features, SIZE_M)
    distances = [2.0, math.hypot(3, 2), math.hypot(4, 2)]
    weights = [1 / (d + 1e-8) for d in distances]
    want = sum(w * f for w, f in zip(weights, [1, 10, 100], strict=True)) / sum(weights)
    assert got.item() == pytest.approx(want, rel=1e-6)


@pytest.mark.parametrize("device", reads.DEVICES)
def test_kernels_and_tensors_interpolate_alike(device):
    points, voxels = scene(2000, 4000, seed=3)
    features = torch.randn(len(voxels), 5)
    want = interpolate(points, voxels, features, SIZE_M)
    with reads.on_device(device):
        got = interpolate(points.to(device), voxels.to(device), features.to(device), SIZE_M)
    assert_close(got.cpu(), want, rtol=1e-4, atol=1e-4)


def test_a_point_on_a_voxel_centre_reads_that_voxel():
    _, voxels = scene(1, 50, scans=1)
    features = torch.arange(float(len(voxels)))[:, None]
    assert_close(interpolate(voxels, voxels, features, SIZE_M), features, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("count", [1, 2])
def test_a_scan_with_fewer_than_three_voxels_uses_those(count, way):
    device = "cpu" if way == "kernels" else way
    voxels = torch.tensor([[0.0, 1, 0, 0], [0.0, -1, 0, 0]])[:count].to(device)
    features = torch.tensor([[4.0], [8.0]])[:count].to(device)
    with nullcontext() if way == "kernels" else reads.on_device(device):
        got = interpolate(torch.zeros(1, 4, device=device), voxels, features, SIZE_M)
    assert got.item() == [4.0, 6.0][count - 1]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(("points", "voxels"), [(0, 5), (4, 0), (0, 0), (4, 5)])
def test_nothing_to_read_gives_zeros_with_a_graph(points, voxels, way):
    device = "cpu" if way == "kernels" else way
    features = torch.ones(voxels, 2, requires_grad=True, device=device)
    centres = torch.arange(1.0, voxels + 1)[:, None].expand(-1, 4).to(device)  # a scan of its own each
    with nullcontext() if way == "kernels" else reads.on_device(device):
        got = interpolate(torch.zeros(points, 4, device=device), centres, features, SIZE_M)
    assert got.shape == (points, 2)
    assert got.abs().sum() == 0
    (gradient,) = torch.autograd.grad(got.sum(), features)
    assert gradient.abs().sum() == 0


def test_gradient_of_features_is_the_weights():
    points, voxels = scene(20, 30, scans=1)
    features = torch.randn(len(voxels), 4, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda f: interpolate(points, voxels, f, SIZE_M), (features,))


def test_wrong_columns_are_named():
    with pytest.raises(ValueError, match=r"voxels must be \(N, 4\).*got shape \(5, 3\)"):
        three_nearest(torch.zeros(2, 4), torch.zeros(5, 3), SIZE_M)
