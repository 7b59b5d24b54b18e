"""Compare simulated scans and labels with real KITTI, bin by bin.

    python tools/studies/sim_vs_real.py KITTI_ROOT [--split FILE] [--sim SIMULATED_ROOT] [--out DIR]

Without --sim, 400 scans are simulated first. For every bin that holds at least 1 % of the real data, the report gives
the real value, the simulated value and their ratio. Only points inside the image count. Labels are compared with all
label files of the real root, and points with its scans; --split limits both to the frames that FILE lists. --out also
writes the report (simulation_bins.md) and plots (sim_vs_real.png).
"""

import argparse
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy import ndarray

from lidar_rank.kitti.calibration import read_calibration
from lidar_rank.kitti.files import read_png_size, read_points
from lidar_rank.kitti.labels import KittiObjects, list_frame_ids, read_kitti_labels
from lidar_rank.simulation import simulate_kitti
from lidar_rank.simulation.beams import BEAM_ELEVATION_DEG, BEAM_ORIGIN_M, HEIGHT_M
from lidar_rank.simulation.camera import IMAGE_SIZE

MIN_SHARE: Final = 0.01
TOLERANCE: Final = 0.25
SCANS: Final = 400
SEED: Final = 20
RANGE_EDGES_M: Final = np.array([0, 5, 7.5, 10, 12.5, 15, 17.5, 20, 25, 30, 35, 40, 50, 60, 80.0])
UPRIGHT_EDGES_M: Final = np.array([0, 5, 7.5, 10, 15, 20, 25, 30, 40, 50, 60, 80.0])
HEIGHT_EDGES_M: Final = np.array([-3, -1, -0.5, -0.25, 0, 0.25, 0.5, 0.75, 1, 1.5, 2, 2.5, 3, 6.0])
DISTANCE_EDGES_M: Final = np.array([0, 10, 15, 20, 25, 30, 35, 40, 50, 60, 80.0])
INTENSITY_EDGES: Final = np.append(np.arange(20) / 20 - 1e-4, 1.0)
CLASSES: Final = ("Car", "Van", "Truck", "Pedestrian", "Cyclist", "Tram", "Misc", "DontCare")
# Positions in the box of a car, as shares of its length, width and height. Each face is in the middle of a bin, because
# annotation errors scatter the points around it.
BOX_EDGES: Final = {
    "length": np.arange(-0.65, 0.66, 0.1),
    "width": np.arange(-0.65, 0.66, 0.1),
    "height": np.arange(0.15, 1.16, 0.1),
}
MIN_CAR_POINTS: Final = 30
# Faces of a box: the axis, and the quantile of the positions of the points that represents the nearest surface.
FACES: Final = {"rear": (0, 0.97), "front": (0, 0.97), "side": (1, 0.95), "top": (2, 0.98)}


@dataclass(frozen=True)
class Histogram:
    """One quantity over a data set.

    Attributes:
        bins: Name of each bin.
        amounts: (frame, bin): the counted quantity.
        units: (frame, bin): number of items on which it was counted. The value of a bin is amounts over units.
    """

    bins: list[str]
    amounts: ndarray
    units: ndarray

    @property
    def values(self) -> ndarray:
        """Amount per unit, for each bin."""
        return self.amounts.sum(0) / np.maximum(self.units.sum(0), 1e-9)

    def shares(self) -> ndarray:
        """Share of the data in each bin: of the units if these differ between bins, else of the amounts."""
        units = self.units.sum(0)
        held = self.amounts.sum(0) if (units == units[0]).all() else units
        return held / held.sum()


@dataclass(frozen=True)
class FrameData:
    """Points inside the image, labels of a frame, and their boxes in the LiDAR frame."""

    points: ndarray
    objects: KittiObjects
    boxes: ndarray


def frame_names(root: Path, split: Path | None) -> list[str]:
    """Names of the labelled frames of a KITTI root, or of a split if one is given."""
    names = list_frame_ids(root / "training" / "label_2")
    return names if split is None else sorted(set(names) & set(split.read_text().split()))


def frames(root: Path, split: Path | None = None) -> Iterator[FrameData]:
    """Read the frames of a KITTI root, or of a split, that have a scan."""
    training = root / "training"
    names = [name for name in frame_names(root, split) if (training / "velodyne" / f"{name}.bin").is_file()]
    labels = read_kitti_labels(training / "label_2", names)
    for index, name in enumerate(names):
        calibration = read_calibration(training / "calib" / f"{name}.txt")
        image = training / "image_2" / f"{name}.png"
        size = read_png_size(image) if image.is_file() else IMAGE_SIZE
        points = read_points(training / "velodyne" / f"{name}.bin").astype(np.float64)
        objects = labels.frame(index)
        boxes = calibration.camera_boxes_to_lidar(objects.location_m, objects.size_m, objects.yaw_rad)
        yield FrameData(points[calibration.in_image(points[:, :3], size)], objects, boxes)


def beam_of(points: ndarray) -> ndarray:
    """Beam of each point: the one whose line of elevation is nearest."""
    reach = np.hypot(points[:, 0], points[:, 1])
    slope = np.tan(np.radians(BEAM_ELEVATION_DEG))
    return np.abs(points[:, 2, None] - BEAM_ORIGIN_M - reach[:, None] * slope).argmin(1)


def in_box_frame(points: ndarray, box: ndarray) -> ndarray:
    """Positions of points as shares of a box: length and width from -0.5 to 0.5, height from 0 to 1."""
    offset = points[:, :3] - box[:3]
    cos, sin = np.cos(box[6]), np.sin(box[6])
    turned = [cos * offset[:, 0] + sin * offset[:, 1], cos * offset[:, 1] - sin * offset[:, 0], offset[:, 2]]
    return np.stack(turned, 1) / box[3:6]


def between(edges: ndarray, unit: str = "") -> list[str]:
    """Names of the bins between edges."""
    return [f"{low:.4g} to {high:.4g}{unit}" for low, high in zip(edges[:-1].round(3), edges[1:].round(3), strict=True)]


def per_frame(bins: list[str], rows: list[ndarray]) -> Histogram:
    """Histogram whose values are means per frame."""
    amounts = np.stack(rows).astype(float)
    return Histogram(bins, amounts, np.ones_like(amounts))


def point_histograms(data: list[FrameData]) -> dict[str, Histogram]:
    """Points of a scan by range, beam, height and intensity."""
    clouds = [(f.points, np.linalg.norm(f.points[:, :3], axis=1), f.points[:, 2] + HEIGHT_M) for f in data]
    beams = [f"{beam} ({angle:.1f} deg)" for beam, angle in enumerate(BEAM_ELEVATION_DEG)]
    return {
        "Points per scan": per_frame(["all"], [np.array([len(p)]) for p, _, _ in clouds]),
        "Points per range ring": per_frame(
            between(RANGE_EDGES_M, " m"), [np.histogram(range_m, RANGE_EDGES_M)[0] for _, range_m, _ in clouds]
        ),
        "Points per beam": per_frame(beams, [np.bincount(beam_of(p), minlength=64) for p, _, _ in clouds]),
        "Points by height above the ground at the sensor": per_frame(
            between(HEIGHT_EDGES_M, " m"), [np.histogram(height, HEIGHT_EDGES_M)[0] for _, _, height in clouds]
        ),
        "Points by intensity": per_frame(
            between(INTENSITY_EDGES), [np.histogram(p[:, 3], INTENSITY_EDGES)[0] for p, _, _ in clouds]
        ),
        "Points higher than 0.5 m, per range ring": per_frame(
            between(UPRIGHT_EDGES_M, " m"),
            [np.histogram(range_m[height > 0.5], UPRIGHT_EDGES_M)[0] for _, range_m, height in clouds],
        ),
    }


def car_histograms(data: list[FrameData]) -> dict[str, Histogram]:
    """Points of labelled cars: number by distance, share with intensity 0, and position in the box."""
    slots = len(DISTANCE_EDGES_M) - 1
    counts = np.zeros((len(data), 5, slots))
    places = {axis: np.zeros((len(data), len(edges) - 1)) for axis, edges in BOX_EDGES.items()}
    for row, frame in enumerate(data):
        objects = frame.objects
        for index in np.flatnonzero(objects.name == "Car"):
            box = frame.boxes[index]
            near = np.abs(frame.points[:, :2] - box[:2]).max(1) < box[3]
            place = in_box_frame(frame.points[near], box)
            inside = (np.abs(place[:, :2]) <= 0.5).all(1) & (np.abs(place[:, 2] - 0.5) <= 0.5)
            points, dark = inside.sum(), (frame.points[near][inside, 3] < 0.005).sum()
            clear = objects.occlusion[index] == 0 and objects.truncation[index] < 0.1
            slot = min(int(np.searchsorted(DISTANCE_EDGES_M, np.hypot(*box[:2]), side="right")) - 1, slots - 1)
            counts[row, :, slot] += [1, points, dark, clear, clear * points]
            around = (np.abs(place[:, :2]) <= 0.65).all(1) & (place[:, 2] >= 0.15) & (place[:, 2] <= 1.15)
            for column, (axis, edges) in enumerate(BOX_EDGES.items()):
                if points >= MIN_CAR_POINTS:
                    places[axis][row] += np.histogram(place[around, column], edges)[0] / around.sum()
    distance = between(DISTANCE_EDGES_M, " m")
    cars, points, dark, clear, clear_points = counts.transpose(1, 0, 2)
    result = {
        "Points per labelled car, by distance": Histogram(distance, points, cars),
        "Points per fully visible car, by distance": Histogram(distance, clear_points, clear),
        "Share of a car's points with intensity 0, by distance": Histogram(distance, dark, points),
    }
    for axis, place in places.items():
        total = np.broadcast_to(place.sum(1, keepdims=True), place.shape)
        result[f"Share of a car's points, by place along its {axis}"] = Histogram(
            between(BOX_EDGES[axis]), place, total
        )
    return result


def surface_offsets_m(data: list[FrameData]) -> dict[str, ndarray]:
    """Distance of the nearest surface of a car from each face of its box that faces the sensor, for cars within 40 m.

    Returns:
        Metres beyond (positive) or inside (negative) each face, one value per car whose face is visible.
    """
    offsets: dict[str, list[float]] = {face: [] for face in FACES}
    for frame in data:
        clear = (frame.objects.name == "Car") & (frame.objects.truncation <= 0.1)
        for box in frame.boxes[clear & (np.hypot(*frame.boxes[:, :2].T) < 40)]:
            half = box[3:6] / [2, 2, 1]
            sensor = in_box_frame(np.zeros((1, 3)), box)[0] * box[3:6]
            place = in_box_frame(frame.points[np.abs(frame.points[:, :2] - box[:2]).max(1) < box[3]], box) * box[3:6]
            place = place[(np.abs(place[:, :2]) < half[:2] + 0.25).all(1) & (place[:, 2] > 0.25)]
            place = place[place[:, 2] < half[2] + 0.25]
            shown = {
                "rear": sensor[0] < -half[0] - 2,
                "front": sensor[0] > half[0] + 2,
                "side": abs(sensor[1]) > half[1] + 1,
                "top": True,
            }
            for face, (axis, quantile) in FACES.items():
                used = place[place[:, 2] < 0.6 * half[2]] if face == "side" else place
                if shown[face] and len(used) > 40:
                    towards = np.sign(sensor[axis]) if axis < 2 else 1
                    offsets[face].append(np.quantile(towards * used[:, axis], quantile) - half[axis])
    return {face: np.array(values) for face, values in offsets.items()}


def label_histograms(labels: KittiObjects) -> dict[str, Histogram]:
    """Labels by class, and number, distance, occlusion and truncation of cars."""
    frame_of = np.repeat(np.arange(len(labels.frame_ids)), np.diff(labels.frame_start))

    def count(bin_of: ndarray, bins: list[str], which: ndarray) -> Histogram:
        table = np.zeros((len(labels.frame_ids), len(bins)))
        np.add.at(table, (frame_of[which], bin_of[which]), 1)
        return per_frame(bins, list(table))

    car = labels.name == "Car"
    distance = np.digitize(np.hypot(labels.location_m[:, 0], labels.location_m[:, 2]), DISTANCE_EDGES_M) - 1
    cut = np.digitize(labels.truncation, [0.005, 0.15, 0.3, 0.5])
    number = np.digitize(np.bincount(frame_of[car], minlength=len(labels.frame_ids)), [1, 2, 3, 5, 7, 10])
    class_of = np.array([CLASSES.index(name) if name in CLASSES else -1 for name in labels.name], int)
    return {
        "Labels per scan, by class": count(class_of, list(CLASSES), class_of >= 0),
        "Cars per scan, by distance": count(
            distance, between(DISTANCE_EDGES_M, " m"), car & (distance < len(DISTANCE_EDGES_M) - 1)
        ),
        "Cars per scan, by occlusion level": count(labels.occlusion.astype(int), ["0", "1", "2", "3"], car),
        "Cars per scan, by truncation": count(cut, ["0", "to 0.15", "to 0.3", "to 0.5", "to 1"], car),
        "Share of the scans, by number of cars": per_frame(
            ["0", "1", "2", "3 to 4", "5 to 6", "7 to 9", "10 and more"], list(np.eye(7)[number])
        ),
    }


def measure(root: Path, split: Path | None = None) -> tuple[dict[str, Histogram], dict[str, ndarray]]:
    """All histograms of a data set, or of a split, and the surface offsets of its cars."""
    data = list(frames(root, split))
    labels = read_kitti_labels(root / "training" / "label_2", frame_names(root, split))
    histograms = point_histograms(data) | car_histograms(data) | label_histograms(labels)
    return histograms, surface_offsets_m(data)


def report(real: dict[str, Histogram], sim: dict[str, Histogram]) -> tuple[list[str], list[str]]:
    """Lines of a summary table, and of one table per quantity."""
    summary = ["| quantity | bins | within 25 % | bins outside, with their ratio |", "| --- | ---: | ---: | --- |"]
    details = []
    for title, histogram in real.items():
        shares = histogram.shares()
        ratios = sim[title].values / np.maximum(histogram.values, 1e-9)
        used = np.flatnonzero(shares >= MIN_SHARE)
        outside = [k for k in used if abs(ratios[k] - 1) > TOLERANCE]
        worst = ", ".join(f"{histogram.bins[k]}: {ratios[k]:.2f}" for k in outside)
        summary.append(f"| {title} | {len(used)} | {len(used) - len(outside)} | {worst} |")
        details += ["", f"## {title}", "", "| bin | share | real | simulated | ratio |"]
        details.append("| --- | ---: | ---: | ---: | ---: |")
        details += [
            f"| {histogram.bins[k]} | {shares[k]:.1%} | {histogram.values[k]:.4g} | {sim[title].values[k]:.4g} "
            f"| {ratios[k]:.2f} |"
            for k in used
        ]
    return summary, details


def report_offsets(real: dict[str, ndarray], sim: dict[str, ndarray]) -> list[str]:
    """Lines of a table of surface offsets: median and quartiles in centimetres."""
    lines = ["| face | real cars | real, cm | simulated, cm |", "| --- | ---: | ---: | ---: |"]
    for face, values in real.items():
        cells = [
            "{1:.1f} ({0:.1f} to {2:.1f})".format(*np.quantile(v, [0.25, 0.5, 0.75]) * 100) for v in (values, sim[face])
        ]
        lines.append(f"| {face} | {len(values)} | {cells[0]} | {cells[1]} |")
    return lines


def plot(real: dict[str, Histogram], sim: dict[str, Histogram], path: Path) -> None:
    """Draw real and simulated values of every quantity that has more than one bin."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    titles = [title for title, histogram in real.items() if len(histogram.bins) > 1]
    figure, axes = plt.subplots(-(-len(titles) // 3), 3, figsize=(16, 3.1 * -(-len(titles) // 3)))
    for axis in axes.flat[len(titles) :]:
        axis.remove()
    for axis, title in zip(axes.flat, titles, strict=False):
        histogram = real[title]
        used = np.flatnonzero(histogram.shares() >= MIN_SHARE)
        x = np.arange(len(used))
        axis.fill_between(x, 0.75 * histogram.values[used], 1.25 * histogram.values[used], color="0.85", step="mid")
        axis.step(x, histogram.values[used], "k", where="mid", label="real, with 25 %")
        axis.step(x, sim[title].values[used], "C1", where="mid", label="simulated")
        ticks = x[:: max(1, len(x) // 6)]
        axis.set_xticks(ticks, [histogram.bins[used[k]] for k in ticks], rotation=20, fontsize=7)
        axis.set_title(title, fontsize=9)
        axis.set_ylim(bottom=0)
    axes.flat[0].legend(fontsize=8)
    figure.tight_layout()
    figure.savefig(path, dpi=90)


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("root", type=Path, help="real KITTI root")
    parser.add_argument("--split", type=Path, help="file that lists the real frames to use (default: all)")
    parser.add_argument("--sim", type=Path, help="simulated root (default: simulate one)")
    parser.add_argument("--out", type=Path, help="folder for simulation_bins.md and sim_vs_real.png")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        if args.sim is None:
            simulate_kitti(Path(folder) / "sim", scans=SCANS, seed=SEED, jobs=2, images=False)
        sim, sim_offsets = measure(args.sim or Path(folder) / "sim")
    real, real_offsets = measure(args.root, args.split)
    summary, details = report(real, sim)
    print("\n".join([*summary, "", *report_offsets(real_offsets, sim_offsets)]))
    if args.out is not None:
        args.out.mkdir(parents=True, exist_ok=True)
        (args.out / "simulation_bins.md").write_text(
            "\n".join(["# Simulated scans compared with real ones, bin by bin", *details, ""])
        )
        plot(real, sim, args.out / "sim_vs_real.png")


if __name__ == "__main__":
    main()
