"""Draw frames of a KITTI root: the image with its label boxes, and the scan from above.

python tools/studies/draw_frames.py ROOT OUT.png [--frames 0 1 2]
"""

import argparse
from pathlib import Path
from typing import Any, Final

import matplotlib as mpl
import numpy as np

from lidar_rank.kitti.calibration import Calibration, read_calibration
from lidar_rank.kitti.files import read_points
from lidar_rank.kitti.labels import KittiObjects, read_kitti_labels
from lidar_rank.simulation.beams import HEIGHT_M

mpl.use("Agg")
from matplotlib import pyplot as plt

COLOURS: Final = {"Car": "tab:red", "DontCare": "0.6"}
FAR_M: Final = 60


def draw_image(axis: Any, path: Path, objects: KittiObjects) -> None:
    """Draw the image with the image boxes of its labels."""
    axis.imshow(plt.imread(path))
    for name, (left, top, right, bottom) in zip(objects.name, objects.bbox_px, strict=True):
        axis.plot([left, right, right, left, left], [top, top, bottom, bottom, top], COLOURS.get(name, "gold"), lw=1)
    axis.axis("off")


def draw_scan(axis: Any, points: np.ndarray, objects: KittiObjects, calibration: Calibration) -> None:
    """Draw the points inside the image from above, coloured by height, with the boxes of the labels."""
    seen = points[calibration.in_image(points[:, :3].astype(np.float64), (1242, 375))]
    axis.scatter(seen[:, 0], seen[:, 1], s=0.2, c=np.clip(seen[:, 2] + HEIGHT_M, -0.3, 3), cmap="viridis")
    boxes = calibration.camera_boxes_to_lidar(objects.location_m, objects.size_m, objects.yaw_rad)
    for name, (x, y, _, length, width, _, yaw) in zip(objects.name, boxes, strict=True):
        if name != "DontCare":
            along, across = np.array([[1, 1, -1, -1, 1], [1, -1, -1, 1, 1]]) * [[length / 2], [width / 2]]
            cos, sin = np.cos(yaw), np.sin(yaw)
            axis.plot(x + cos * along - sin * across, y + sin * along + cos * across, COLOURS.get(name, "gold"), lw=1)
    axis.set(xlim=(0, FAR_M), ylim=(-20, 20), aspect="equal")


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("root", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--frames", type=int, nargs="+", default=[0, 1, 2])
    args = parser.parse_args()
    training, names = args.root / "training", [f"{number:06d}" for number in args.frames]
    labels = read_kitti_labels(training / "label_2", names)
    figure, axes = plt.subplots(len(names), 2, figsize=(16, 3.2 * len(names)), width_ratios=[2.1, 1], squeeze=False)
    for row, name in enumerate(names):
        draw_image(axes[row, 0], training / "image_2" / f"{name}.png", labels.frame(row))
        points = read_points(training / "velodyne" / f"{name}.bin")
        draw_scan(axes[row, 1], points, labels.frame(row), read_calibration(training / "calib" / f"{name}.txt"))
    figure.tight_layout()
    figure.savefig(args.out, dpi=80)


if __name__ == "__main__":
    main()
