"""Fit the tables of the simulator to real KITTI data, and print them as Python code for the modules of the simulator.

    python tools/studies/fit_simulation.py KITTI_ROOT [--split FILE] --sim SIMULATED_ROOT

Beam angles, beam origins, object sizes and the height of boxes above the ground come from the real files only. The
intensity tables are corrected by the remaining difference between simulated and real scans. So paste the printed
tables, simulate again, and repeat until the numbers no longer change (three rounds were enough).
"""

import argparse
from pathlib import Path
from typing import Final

import numpy as np
from numpy import ndarray
from scipy.stats import norm, rankdata
from sim_vs_real import FrameData, beam_of, frame_names, frames, in_box_frame

from lidar_rank.kitti.files import read_points
from lidar_rank.kitti.labels import read_kitti_labels
from lidar_rank.simulation.beams import HEIGHT_M
from lidar_rank.simulation.scanner import BEAM_INTENSITY_OFFSET, INTENSITY_RESPONSE
from lidar_rank.simulation.sizes import CLASSES, LEVELS

BEAMS: Final = 64
GROUND_BEAMS_FROM: Final = 14


def ring_of(points: ndarray) -> ndarray:
    """Beam of each point of a whole KITTI scan. Files hold one beam after the other, each with rising azimuth."""
    azimuth = np.arctan2(points[:, 1], points[:, 0]) % (2 * np.pi)
    return np.concatenate([[0], np.cumsum(np.diff(azimuth) < -np.pi)])


def fit_beams(root: Path, split: Path | None) -> tuple[ndarray, ndarray]:
    """Fit the elevation in degrees and the height of the origin in metres of each beam: z is linear in the distance."""
    paths = [root / "training" / "velodyne" / f"{name}.bin" for name in frame_names(root, split)]
    scans = [read_points(path).astype(np.float64) for path in paths if path.is_file()]
    points, rings = np.concatenate(scans), np.concatenate([ring_of(scan) for scan in scans])
    lines = []
    for beam in range(BEAMS):
        of_beam = points[rings == beam]
        reach, z = np.hypot(of_beam[:, 0], of_beam[:, 1]), of_beam[:, 2]
        slope, origin = np.polyfit(reach, z, 1)
        near = np.abs(z - slope * reach - origin) < 0.005
        lines.append(np.polyfit(reach[near], z[near], 1))
    slopes, origins = np.array(lines).T
    return np.degrees(np.arctan(slopes)), origins


def fit_sizes(root: Path, split: Path | None) -> None:
    """Print quantiles and rank correlations of length, width and height of each class."""
    labels = read_kitti_labels(root / "training/label_2", frame_names(root, split))
    print("# sizes.py: SIZES")
    for name in CLASSES:
        size = labels.size_m[labels.name == name][:, ::-1]
        scores = norm.ppf((np.apply_along_axis(rankdata, 0, size) - 0.5) / len(size))
        correlation = np.corrcoef(scores.T)[np.triu_indices(3, 1)]
        print(f"{name}: {np.quantile(size, LEVELS, axis=0).T.round(2).tolist()}, {correlation.round(2).tolist()}")


def fit_lift(data: list[FrameData]) -> None:
    """Print the height of the bottom of the boxes of cars above the ground beside them."""
    lifts = []
    for frame in data:
        for box in frame.boxes[frame.objects.name == "Car"]:
            offset = in_box_frame(frame.points, box) * box[3:6]
            beyond = np.abs(offset[:, :2]) - box[3:5] / 2
            beside = (beyond.max(1) > 0.1) & (beyond.max(1) < 0.6) & (np.abs(offset[:, 2]) < 0.3)
            if beside.sum() > 20:
                lifts.append(-np.median(offset[beside, 2]))
    low, median, high = np.quantile(lifts, [0.25, 0.5, 0.75])
    print(f"# world.py: LIFT_M = {median:.3f}, LIFT_STD_M = {(high - low) / 1.35:.3f}  ({len(lifts)} cars)")


def beam_intensity(data: list[FrameData]) -> ndarray:
    """Mean intensity of each beam on the road ahead, or on upright surfaces for beams that do not reach the road."""
    points = np.concatenate([frame.points for frame in data])
    beam, range_m = beam_of(points), np.linalg.norm(points[:, :3], axis=1)
    height = points[:, 2] + HEIGHT_M
    road = (beam >= GROUND_BEAMS_FROM) & (np.abs(points[:, 1]) < 2.5) & (height < 0.25) & (range_m > 5) & (range_m < 30)
    upright = (beam < GROUND_BEAMS_FROM) & (height > 0.6) & (range_m > 8) & (range_m < 30)
    used = road | upright
    count = np.bincount(beam[used], minlength=BEAMS)
    mean = np.bincount(beam[used], points[used, 3], minlength=BEAMS) / np.maximum(count, 1)
    return np.where(count >= 100, mean, np.nan)


def fit_intensity(real: list[FrameData], sim: list[FrameData]) -> None:
    """Print the intensity tables, corrected by the difference between real and simulated scans."""
    missing = beam_intensity(real) - beam_intensity(sim)
    offset = BEAM_INTENSITY_OFFSET + np.nan_to_num(missing)
    print(f"# scanner.py: BEAM_INTENSITY_OFFSET\n{np.round(offset, 3).tolist()}")
    levels, response = INTENSITY_RESPONSE
    shares = np.linspace(0, 1, 41)
    real_quantiles, sim_quantiles = (
        np.quantile(values[values > 0.005], shares)
        for values in (np.concatenate([frame.points[:, 3] for frame in data]) for data in (real, sim))
    )
    corrected = np.interp(response, sim_quantiles, real_quantiles)
    print(f"# scanner.py: INTENSITY_RESPONSE\n{[levels, np.round(corrected, 3).tolist()]}")


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("root", type=Path, help="real KITTI root with whole scans, labels and calibrations")
    parser.add_argument("--split", type=Path, help="file that lists the real frames to fit to (default: all)")
    parser.add_argument("--sim", type=Path, required=True, help="simulated root with some hundred scans")
    args = parser.parse_args()
    elevation, origin = fit_beams(args.root, args.split)
    print(f"# beams.py: BEAM_ELEVATION_DEG\n{np.round(elevation, 3).tolist()}")
    ends = np.round(origin[[0, 31, 32, 63]], 3).tolist()
    print(f"# beams.py: BEAM_ORIGIN_M, first and last beam of both blocks\n{ends}")
    fit_sizes(args.root, args.split)
    real = list(frames(args.root, args.split))
    fit_lift(real)
    fit_intensity(real, list(frames(args.sim)))


if __name__ == "__main__":
    main()
