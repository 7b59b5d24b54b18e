"""Measure the cost of a simulated scan on one core, step by step, relative to its ray casting.

    python tools/bench/bench_simulation.py [--scans 60]

Prints the processor time per scan, and its ratio to the least that embree needs for the same rays in the same run:
building the tree over the triangles and casting the rays once. `lidar-rank simulate` prints the rate of a whole run.
"""

import argparse
import time
from collections.abc import Callable
from typing import Final, TypeVar

import numpy as np

from lidar_rank.simulation.beams import FULL_TURN_DEG, camera_window_deg, firing_rays
from lidar_rank.simulation.camera import KITTI_CALIBRATION
from lidar_rank.simulation.frame import HALF_ANGLE_RAD
from lidar_rank.simulation.image import render
from lidar_rank.simulation.labels import label_lines
from lidar_rank.simulation.scanner import build_scene, cast, scan
from lidar_rank.simulation.world import make_world

Result = TypeVar("Result")
WARM_UP: Final = 60
IMAGES: Final = 8


class Stopwatch:
    """Sums the processor time of each step."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    def __call__(self, step: str, work: Callable[[], Result]) -> Result:
        """Run ``work``, add its time to ``step`` and return its result."""
        start = time.process_time()
        result = work()
        self.seconds[step] = self.seconds.get(step, 0.0) + time.process_time() - start
        return result


def measure(view: str, scans: int, images: int) -> dict[str, float]:
    """Milliseconds per scan (or image) of each step."""
    window_deg = FULL_TURN_DEG if view == "full" else camera_window_deg(KITTI_CALIBRATION)
    half_angle_rad = HALF_ANGLE_RAD[view]
    # Shapes are made once and cached, so their cost does not grow with the number of scans. Make them before timing.
    for seed in range(WARM_UP):
        make_world(np.random.default_rng([1, seed]), half_angle_rad=half_angle_rad)
    timed, pictured = Stopwatch(), Stopwatch()
    for seed in range(scans):
        rng = np.random.default_rng([2, seed])
        world = timed("world", lambda rng=rng: make_world(rng, half_angle_rad=half_angle_rad))
        rays, _ = firing_rays(np.random.default_rng(seed), window_deg)
        bare = build_scene(world.scene.mesh, world.scene.owner, world.scene.albedo)
        timed("embree alone", lambda scene=bare, rays=rays: cast(scene, rays))
        _, owner = timed("scan", lambda world=world, rng=rng: scan(world.scene, rng, window_deg))
        points = np.bincount(owner[owner >= 0], minlength=len(world.objects))
        timed("labels", lambda w=world, n=points, rng=rng: label_lines(w, KITTI_CALIBRATION, n, rng))
        if seed < images:
            pictured("image", lambda world=world, rng=rng: render(world, KITTI_CALIBRATION, rng))
    steps = {step: 1e3 * seconds / scans for step, seconds in timed.seconds.items()}
    return steps | {step: 1e3 * seconds / images for step, seconds in pictured.seconds.items()}


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scans", type=int, default=60)
    args = parser.parse_args()
    print("| view | world, ms | scan, ms | labels, ms | sum, ms | embree alone, ms | sum / embree | image, ms |")
    print("| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |")
    for view, images in (("front", min(IMAGES, args.scans)), ("full", 0)):
        cost = measure(view, args.scans, images)
        total = cost["world"] + cost["scan"] + cost["labels"]
        cells = [cost["world"], cost["scan"], cost["labels"], total, cost["embree alone"]]
        image = f"{cost['image']:.0f}" if images else "-"
        print(f"| {view} | {' | '.join(f'{c:.1f}' for c in cells)} | {total / cost['embree alone']:.1f} | {image} |")


if __name__ == "__main__":
    main()
