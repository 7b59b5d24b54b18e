"""Time sparse convolution on a CPU, lidar_rank's own beside spconv's: rulebooks, one convolution, whole encoders.

    python tools/bench/bench_sparse.py [--runs 15] [--threads 1] [--scans data/kitti/training/velodyne_reduced]

Both sides take turns within each run. Wall times are what a training takes; processor times say more where other
programs share the cores. The figures are the fastest of all runs. Without ``--scans`` the scans are made up: a street
of ground, walls and boxes, seen by 64 beams.
"""

import argparse
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import ModuleType

import numpy as np
import torch
from torch import Tensor, nn

from lidar_rank.sparse import backends

# (x, y, z) range in metres, voxel edges in metres, grid (z, y, x), stages of channels, padding of the third stride and
# output channels of the small and the full-size SECOND, which the configs of this project and the host's give.
SMALL = ([0, -19.2, -3, 38.4, 19.2, 1], [0.1, 0.1, 0.2], [21, 384, 384], [[16], [32, 32], [32, 32]], 32)
FULL = ([0, -40, -3, 70.4, 40, 1], [0.05, 0.05, 0.1], [41, 1600, 1408], [[16], [32] * 3, [64] * 3, [64] * 3], 128)


def main() -> None:
    """Print one table of times and ratios."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=15)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--scans", type=Path, help="folder of KITTI scans, cut to the image")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    sides = {name: backends.load(name) for name in ("native", "spconv")}
    print(f"{options.threads} threads, fastest of {options.runs} runs; ms native / spconv, ratio")
    stage(sides, voxels_of(SMALL, options.scans, 6), options.runs)
    encoder("small SECOND, 4 scans", sides, SMALL, voxels_of(SMALL, options.scans, 4), options.runs)
    encoder("full-size SECOND, 1 scan", sides, FULL, voxels_of(FULL, options.scans, 1), options.runs)


def stage(sides: dict[str, ModuleType], voxels: tuple[Tensor, Tensor], runs: int) -> None:
    """Rulebook, forward and backward of one submanifold convolution of 32 channels."""
    indices = voxels[1]
    features = torch.randn(len(indices), 32)
    rulebook, forward, backward = {}, {}, {}
    for name, side in sides.items():
        layer = side.SubMConv3d(32, 32, 3, bias=False, indice_key="stage")
        x = side.SparseConvTensor(features.clone().requires_grad_(), indices, SMALL[2], int(indices[-1, 0]) + 1)
        once = layer(x)
        narrow = side.SubMConv3d(1, 1, 3, bias=False, indice_key="stage")
        rulebook[name] = lambda side=side, layer=narrow, x=x: layer(
            side.SparseConvTensor(x.features[:, :1], x.indices, x.spatial_shape, x.batch_size)
        )
        forward[name] = lambda layer=layer, once=once: layer(once)
        out = layer(once)
        backward[name] = lambda out=out: out.features.backward(features, retain_graph=True)
    print(f"one stage: {len(indices)} voxels, 32 channels, submanifold 3 x 3 x 3")
    report("rulebook", rulebook, runs)
    report("forward", forward, runs)
    report("backward of two", backward, runs)


def encoder(name: str, sides: dict[str, ModuleType], sizes: tuple, voxels: tuple[Tensor, Tensor], runs: int) -> None:
    """Forward, and forward with backward, of the host's SparseEncoder."""
    _, _, shape, stages, out_channels = sizes
    features, indices = voxels
    scans = int(indices[-1, 0]) + 1
    forward, both = {}, {}
    for side_name, side in sides.items():
        torch.manual_seed(0)
        net = layers(side, stages, out_channels)

        def call(side: ModuleType = side, net: nn.Module = net) -> Tensor:
            return net(side.SparseConvTensor(features, indices, shape, scans)).dense()

        forward[side_name] = call
        grad = torch.randn_like(call())
        both[side_name] = lambda call=call, grad=grad: call().backward(grad)
    print(f"encoder of the {name}: {len(indices)} voxels")
    report("forward", forward, runs)
    report("forward + backward", both, runs)


def layers(side: ModuleType, stages: Sequence[Sequence[int]], out_channels: int) -> nn.Module:
    """The layers of mmdet3d's SparseEncoder."""

    def block(kind: type[nn.Module], before: int, after: int, kernel: object = 3, **options: object) -> nn.Module:
        convolution = kind(before, after, kernel, bias=False, **options)
        return side.SparseSequential(convolution, nn.BatchNorm1d(after, eps=1e-3), nn.ReLU(inplace=True))

    blocks = [block(side.SubMConv3d, 4, 16, padding=1, indice_key="subm1")]
    before = 16
    for number, stage_channels in enumerate(stages, 1):
        for place, after in enumerate(stage_channels):
            if number > 1 and place == 0:
                padding = (0, 1, 1) if number == 4 else 1
                blocks.append(
                    block(side.SparseConv3d, before, after, stride=2, padding=padding, indice_key=f"{number}")
                )
            else:
                blocks.append(block(side.SubMConv3d, before, after, padding=1, indice_key=f"subm{number}"))
            before = after
    blocks.append(block(side.SparseConv3d, before, out_channels, (3, 1, 1), stride=(2, 1, 1), indice_key="out"))
    return side.SparseSequential(*blocks)


def report(part: str, calls: dict[str, Callable[[], object]], runs: int) -> None:
    """Time both sides in turn, after one round to warm up, and print the fastest times."""
    times_s: dict[str, list[tuple[float, float]]] = {name: [] for name in calls}
    for run in range(runs + 1):
        for name, call in calls.items():
            wall_s, processor_s = time.perf_counter(), time.process_time()
            call()
            if run:
                times_s[name].append((time.perf_counter() - wall_s, time.process_time() - processor_s))
    (wall, processor), (their_wall, their_processor) = (
        (1e3 * min(column) for column in zip(*times_s[name], strict=True)) for name in ("native", "spconv")
    )
    print(
        f"  {part:20s} wall {wall:7.1f} / {their_wall:7.1f} = {wall / their_wall:.2f}"
        f"   processor {processor:7.1f} / {their_processor:7.1f} = {processor / their_processor:.2f}",
        flush=True,
    )


def voxels_of(sizes: tuple, folder: Path | None, scans: int) -> tuple[Tensor, Tensor]:
    """Mean point of each voxel, and scan, z, y, x; at most 16,000 voxels a scan, in the order of the points."""
    features, indices = [], []
    for scan, points in zip(range(scans), read(folder) if folder else street(), strict=False):
        lower, upper = np.array(sizes[0][:3]), np.array(sizes[0][3:])
        points = points[((points[:, :3] >= lower) & (points[:, :3] < upper)).all(1)]
        cells = ((points[:, :3] - lower) / sizes[1]).astype(np.int32)[:, ::-1]
        _, first, voxel, count = np.unique(cells, axis=0, return_index=True, return_inverse=True, return_counts=True)
        mean = np.stack([np.bincount(voxel.reshape(-1), column) / count for column in points.T], axis=1)
        kept = np.argsort(first)[:16000]
        features.append(torch.tensor(mean[kept], dtype=torch.float32))
        indices.append(nn.functional.pad(torch.tensor(cells[first[kept]].copy()), (1, 0), value=scan))
    return torch.cat(features), torch.cat(indices)


def read(folder: Path) -> Iterator[np.ndarray]:
    """Points (x, y, z, intensity) of the scans of a folder, within 40 degrees of the viewing direction."""
    for path in sorted(folder.glob("*.bin")):
        points = np.fromfile(path, dtype=np.float32).reshape(-1, 4)
        yield points[np.abs(np.arctan2(points[:, 1], points[:, 0])) < 0.7]


def street() -> Iterator[np.ndarray]:
    """Points of made-up streets: for every ray of a 64-beam scanner the nearest of ground, two walls and boxes."""
    rng = np.random.default_rng(0)
    elevation, azimuth = (
        a.ravel() for a in np.meshgrid(np.radians(np.linspace(2, -24.8, 64)), np.arange(-0.7, 0.7, 0.003))
    )
    ray = np.stack([np.cos(elevation) * np.cos(azimuth), np.cos(elevation) * np.sin(azimuth), np.sin(elevation)], 1)
    while True:
        with np.errstate(divide="ignore", invalid="ignore"):
            far_m = np.full(len(ray), 120.0)
            for axis, at_m in ((2, -1.73), (1, rng.uniform(6, 15)), (1, -rng.uniform(6, 15))):
                distance_m = at_m / ray[:, axis]
                far_m = np.where((distance_m > 0) & (distance_m < far_m), distance_m, far_m)
            for centre_m in rng.uniform([5, -8, -1], [60, 8, -1], (25, 3)):
                half_m = np.array([2.0, 0.8, 0.75])
                near, back = np.sort(np.stack([(centre_m - half_m) / ray, (centre_m + half_m) / ray]), axis=0)
                enter_m, leave_m = near.max(1), back.min(1)
                far_m = np.where((enter_m > 0) & (enter_m < leave_m) & (enter_m < far_m), enter_m, far_m)
        points = ray * (far_m + rng.normal(0, 0.02, len(ray)))[:, None]
        yield np.column_stack([points, rng.random(len(ray))])[far_m < 80].astype(np.float32)


if __name__ == "__main__":
    main()
