"""One simulated frame: its scan, labels, calibration and image."""

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import cv2
import numpy as np
from jaxtyping import Float, UInt8

from lidar_rank.kitti.calibration import Calibration, format_calibration
from lidar_rank.kitti.files import write_atomically
from lidar_rank.kitti.root import Frame
from lidar_rank.simulation.camera import KITTI_CALIBRATION
from lidar_rank.simulation.image import render
from lidar_rank.simulation.labels import label_lines
from lidar_rank.simulation.scanner import scan
from lidar_rank.simulation.world import make_world

HALF_ANGLE_RAD: Final = {"front": np.radians(44.0), "full": np.pi}


def write_frame(
    index: int,
    *,
    folder: Path,
    seed: int,
    view: str,
    images: bool,
    classes: Sequence[str],
    calibration: Calibration,
    window_deg: Float[np.ndarray, "beam 2"],
) -> None:
    """Simulate one frame and write its files, each of which appears complete or not at all.

    Args:
        index: Number of the frame.
        folder: Folder with ``velodyne``, ``label_2``, ``calib`` and, with images, ``image_2``.
        seed: Seed of the data set.
        view: ``"front"`` or ``"full"``.
        images: Whether to render the camera image.
        classes: Classes of labelled objects that may appear.
        calibration: Calibration of the frame.
        window_deg: See :func:`lidar_rank.simulation.beams.firing_rays`.

    Raises:
        OSError: a file cannot be written.
    """
    scan_seed, image_seed = _seeds(seed, index)
    rng = np.random.default_rng(scan_seed)
    world = make_world(rng, half_angle_rad=HALF_ANGLE_RAD[view], classes=classes)
    points, owner = scan(world.scene, rng, window_deg)
    num_points = np.bincount(owner[owner >= 0], minlength=len(world.objects))
    frame = Frame(folder, f"{index:06d}")
    write_atomically(frame.points_path, points.tobytes())
    lines = label_lines(world, calibration, num_points, rng)
    write_atomically(frame.label_path, "".join(f"{line}\n" for line in lines).encode())
    write_atomically(frame.calibration_path, format_calibration(calibration).encode())
    if images:
        image = render(world, calibration, np.random.default_rng(image_seed))
        write_atomically(frame.image_path, cv2.imencode(".png", image[..., ::-1])[1].tobytes())


def simulate_image(index: int, *, seed: int = 0) -> UInt8[np.ndarray, "height width 3"]:
    """Render the camera image of frame ``index`` of the data set that ``simulate_kitti`` makes with ``seed``."""
    scan_seed, image_seed = _seeds(seed, index)
    world = make_world(np.random.default_rng(scan_seed), half_angle_rad=HALF_ANGLE_RAD["front"])
    return render(world, KITTI_CALIBRATION, np.random.default_rng(image_seed))


def _seeds(seed: int, index: int) -> list[np.random.SeedSequence]:
    """Seeds of the scan and of the image of one frame."""
    return np.random.SeedSequence(seed, spawn_key=(index,)).spawn(2)
