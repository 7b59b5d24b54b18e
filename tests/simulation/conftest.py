"""Worlds and data sets that several test files share."""

from pathlib import Path

import numpy as np
import pytest

from lidar_rank.simulation.beams import camera_window_deg
from lidar_rank.simulation.builder import World
from lidar_rank.simulation.camera import KITTI_CALIBRATION
from lidar_rank.simulation.frame import HALF_ANGLE_RAD
from lidar_rank.simulation.scanner import scan
from lidar_rank.simulation.world import make_world
from lidar_rank.simulation.write import simulate_kitti


@pytest.fixture(scope="package")
def scanned_worlds() -> list[tuple[World, np.ndarray, np.ndarray]]:
    """Thirty worlds, each with its front scan and the owner of each point."""
    window_deg = camera_window_deg(KITTI_CALIBRATION)
    found = []
    for seed in range(30):
        rng = np.random.default_rng(seed)
        world = make_world(rng, half_angle_rad=HALF_ANGLE_RAD["front"])
        found.append((world, *scan(world.scene, rng, window_deg)))
    return found


@pytest.fixture(scope="package")
def simulated_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten frames without images. Tests that change the folder work on a copy."""
    root = tmp_path_factory.mktemp("simulated")
    simulate_kitti(root, scans=10, seed=5, images=False)
    return root
