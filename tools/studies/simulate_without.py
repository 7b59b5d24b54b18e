r"""Simulate a data set without one part of the simulator, to measure what this part contributes on real scans.

    python tools/studies/simulate_without.py shapes data/without_shapes --scans 400 --val 100
    python tools/ablation_3d.py --rows second/focal --data data/without_shapes --out work_dirs/without_shapes \
        --real data/kitti --table work_dirs/without_shapes/table.md

What the data set is like without each part:

    shapes     cars and vans are cuboids
    gap        bodies fill their labelled boxes
    noise      ranges are exact
    losses     every pulse returns
    intensity  the intensity is always 0
    clutter    there are only traffic and parked vehicles, and nothing beside the street
    nothing    the simulator as it is
"""

import argparse
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np

from lidar_rank.kitti import prepare_kitti
from lidar_rank.simulation import scanner, simulate_kitti, world
from lidar_rank.simulation.camera import IMAGE_SIZE
from lidar_rank.simulation.materials import OPTICS, Material
from lidar_rank.simulation.mesh import Mesh, box

PARTS = ("nothing", "shapes", "gap", "noise", "losses", "intensity", "clutter")


def main() -> None:
    """Simulate and prepare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=PARTS)
    parser.add_argument("out", type=Path)
    parser.add_argument("--scans", type=int, default=400, help="default %(default)s")
    parser.add_argument("--val", type=int, default=100, help="validation scans (default %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="default %(default)s")
    options = parser.parse_args()
    with ExitStack() as replaced:
        for patch in patches(options.part):
            replaced.enter_context(patch)
        simulate_kitti(options.out, scans=options.scans, val=options.val, seed=options.seed, images=False)
    prepare_kitti(options.out, image_size=IMAGE_SIZE)


def patches(part: str) -> Iterator[Any]:
    """What to replace in the simulator to leave out a part."""
    if part == "shapes":
        yield mock.patch.object(world, "_body", _box_for_vehicles(world._body))
    if part == "gap":
        yield mock.patch.object(world, "VEHICLE_INSET_M", (0.0, 0.0))
    if part == "noise":
        yield mock.patch.multiple(scanner, PULSE_NOISE_M=0.0, DRIFT_NOISE_M=0.0)
        nothing = np.zeros(len(Material), np.float32)
        yield mock.patch.dict(OPTICS, roughness_m=nothing, depth_m=nothing)
    if part == "losses":
        yield mock.patch.object(scanner, "_loss", lambda albedo, *_: np.zeros(len(albedo)))
    if part == "intensity":
        yield mock.patch.object(scanner, "_intensity", lambda albedo, *_: np.zeros(len(albedo)))
    if part == "clutter":
        yield mock.patch.multiple(
            world._Populating, **dict.fromkeys(("walk", "line_kerb", "line_boundary", "close_view"), lambda *_: None)
        )


def _box_for_vehicles(body: Any) -> Any:
    cuboid = box((-0.5, -0.5, 0.0), (0.5, 0.5, 1.0), Material.PAINT)

    def boxes(name: str, size: np.ndarray, rng: np.random.Generator) -> Mesh:
        own: Mesh = body(name, size, rng)
        return cuboid if name in ("Car", "Van") else own

    return boxes


if __name__ == "__main__":
    main()
