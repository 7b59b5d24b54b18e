"""What the doctor says of scans, with and without faults."""

import re
from collections.abc import Callable

import numpy as np
import pytest

from lidar_rank.cli import main
from lidar_rank.kitti.files import read_points
from lidar_rank.kitti.labelled import read_labelled_scans
from lidar_rank.scans import SensorFrame, examine_boxes, examine_scans, find_ground, measure_scan, read_scan
from lidar_rank.scans.doctor import format_measures
from tests.importing.examples import Labelled, write_sustech


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """A root of simulated frames, which nothing ails."""
    from lidar_rank.simulation import simulate_kitti

    root = tmp_path_factory.mktemp("simulated") / "kitti"
    simulate_kitti(root, scans=6, seed=11, val=1, images=False, jobs=1)
    return root


@pytest.fixture(scope="module")
def frames(root):
    files, boxes = read_labelled_scans(root)
    return [read_points(file) for file in files], boxes


def findings(scans) -> list[str]:
    return [f"{finding.problem}: {finding.remedy}" for finding in examine_scans([measure_scan(scan) for scan in scans])]


def every_fourth_beam(points: np.ndarray) -> np.ndarray:
    elevation_deg = np.degrees(np.arctan2(points[:, 2], np.hypot(points[:, 0], points[:, 1])))
    return points[np.floor(elevation_deg / 0.4) % 4 == 0]


FAULTS: dict[str, tuple[Callable[[np.ndarray], np.ndarray], str]] = {
    "millimetres": (lambda points: points * np.float32([1000, 1000, 1000, 1]), "--unit 0.001"),
    "centimetres": (lambda points: points * np.float32([100, 100, 100, 1]), "--unit 0.01"),
    "kilometres": (lambda points: points * np.float32([1e-3, 1e-3, 1e-3, 1]), "--unit 1000"),
    "on a map": (lambda points: points + np.float32([5000, -2000, 0, 0]), "subtract the sensor's position"),
    "high": (lambda points: points - np.float32([0, 0, 0.8, 0]), "--height 2.5"),
    "low": (lambda points: points + np.float32([0, 0, 0.9, 0]), "--height 0.8"),
    "tilted": (
        lambda points: points @ np.float32([[0.97, 0, 0.24, 0], [0, 1, 0, 0], [-0.24, 0, 0.97, 0], [0, 0, 0, 1]]),
        "the road is tilted by 1",
    ),
    "camera axes": (lambda points: points[:, [1, 2, 0, 3]] * np.float32([-1, -1, 1, 1]), "up is -y"),
    "y up": (lambda points: points[:, [1, 2, 0, 3]], "up is y"),
    "upside down": (lambda points: points * np.float32([1, -1, -1, 1]), "up is -z"),
    "to the left": (lambda points: points[:, [1, 0, 2, 3]] * np.float32([-1, 1, 1, 1]), "--rotate-z -90"),
    "8 bits": (lambda points: points * np.float32([1, 1, 1, 255]), "--intensity-scale 0.00392"),
    "16 bits": (lambda points: points * np.float32([1, 1, 1, 65535]), "--intensity-scale 1.53e-05"),
    "no intensity": (lambda points: points * np.float32([1, 1, 1, 0]), "every intensity is 0"),
    "weak": (lambda points: points * np.float32([1, 1, 1, 0.02]), "--intensity-scale"),
    "few beams": (every_fourth_beam, "degrees apart"),
    "thinned": (lambda points: points[::20], "points in front between"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_planted_fault_is_found_in_one_scan_and_in_many(fault, frames):
    plant, expected = FAULTS[fault]
    scans = [plant(points) for points in frames[0]]
    assert any(expected in finding for finding in findings(scans))
    assert any(expected in finding for finding in findings(scans[:1]))


def test_nothing_is_found_in_simulated_scans(frames):
    for scan in frames[0]:
        assert findings([scan]) == []
    assert findings(frames[0]) == []
    assert examine_boxes(*frames) == []


@pytest.mark.real
def test_nothing_is_found_in_real_scans(kitti_root):
    files, boxes = read_labelled_scans(kitti_root)
    points = [read_points(file) for file in files]
    measured = [measure_scan(scan) for scan in points]
    for scan in measured:
        assert examine_scans([scan]) == []
    assert examine_scans(measured) == []
    assert examine_boxes(points, boxes) == []


def test_a_scan_in_one_plane_is_that_of_a_single_beam(tmp_path, capsys):
    """The doctor stopped with 'Singular matrix', without the name of the file."""
    azimuth = np.linspace(-np.pi, np.pi, 20000)
    range_m = 8 + 3 * np.sin(3 * azimuth)
    flat = np.column_stack([range_m * np.cos(azimuth), range_m * np.sin(azimuth), 0 * azimuth, 0 * azimuth + 0.3])
    np.save(tmp_path / "scan.npy", flat.astype(np.float32))
    assert main(["doctor", str(tmp_path / "scan.npy")]) == 0
    said = capsys.readouterr().out
    assert "! the elevations of the points differ by 0.0 degrees, as those of a single beam" in said
    assert said.count("!") == 1


@pytest.mark.parametrize("y", [0, -1.73])
def test_points_on_a_line_have_no_ground(y):
    x, z = np.random.default_rng(0).uniform(-12, 12, (2, 5000))
    assert find_ground(np.column_stack([x, np.full(5000, y), z])) is None


@pytest.mark.parametrize("scale", [0.1, 10])
def test_a_distance_that_no_unit_explains_is_said_beside_the_rest(scale, frames):
    """The remedy was the unit that was used already, and nothing else was said."""
    points = frames[0][0] * np.float32([scale, scale, scale, 255])
    said = findings([points])
    range_m = np.median(np.hypot(points[:, 0], points[:, 1]))
    assert said[0].startswith(f"the median distance of the points is {range_m:g} m, which no usual unit of length")
    assert any("--intensity-scale 0.00392" in finding for finding in said)
    assert not any("--unit" in finding for finding in said)


def test_a_road_through_the_origin_is_no_sensor_upside_down(frames):
    """Axes of a vehicle may begin on the road; --height 0.00, which the doctor named otherwise, is refused."""
    height_m = measure_scan(frames[0][0]).ground["z"].height_m
    for above_origin_m in (0.05, -0.004):
        points = frames[0][0] + np.float32([0, 0, height_m + above_origin_m, 0])
        (said,) = findings([points])
        metres = float(re.search(r"subtract ([0-9.]+) m from z and leave --height out", said)[1])
        assert metres == pytest.approx(1.73 + above_origin_m, abs=0.006)
        assert findings([points - np.float32([0, 0, metres, 0])]) == []


def decibels(intensity: np.ndarray) -> np.ndarray:
    return 20 * np.log10(np.maximum(intensity, 1e-3))


def few(intensity: np.ndarray) -> np.ndarray:
    return np.where(np.arange(len(intensity)) % 150 == 0, intensity, 0)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (decibels, "intensities are negative: 1 % are below -"),
        (lambda intensity: intensity * 200 - 100, "intensities are negative: 1 % are below -"),
        (lambda intensity: -intensity, "intensities are negative: 1 % are below -"),
        (few, "99 % of the intensities are 0"),
        (lambda intensity: few(intensity) * 1e6, "99 % of the intensities are 0"),
    ],
)
def test_intensities_that_no_scale_mends_are_said_without_one(change, problem, frames):
    """A scale that was infinite or negative was named, and numpy warned."""
    points = frames[0][0].copy()
    points[:, 3] = change(points[:, 3])
    (said,) = findings([points])
    assert said.startswith(problem)
    assert "--intensity-scale" not in said


@pytest.mark.filterwarnings("error")
def test_a_scale_is_found_where_most_intensities_are_zero(frames):
    points = frames[0][0].copy()
    points[::2, 3] = 0
    points[1::4, 3] = 0
    (said,) = findings([points * np.float32([1, 1, 1, 1e6])])
    scale = float(re.search(r"--intensity-scale ([0-9.e-]+)", said)[1])
    assert findings([points * np.float32([1, 1, 1, 1e6 * scale])]) == []


LABEL_FAULTS: dict[str, tuple[Callable[[np.ndarray], np.ndarray], str]] = {
    "z of the centre": (lambda boxes: boxes + 0.5 * boxes[:, 5:6] * np.eye(7)[2], "z is the centre"),
    "swapped sizes": (lambda boxes: boxes[:, [0, 1, 2, 4, 3, 5, 6]], "length and width are swapped"),
    "KITTI's order of sizes": (lambda boxes: boxes[:, [0, 1, 2, 5, 4, 3, 6]], "sizes are height, width, length"),
    "clockwise yaw": (lambda boxes: boxes * [1, 1, 1, 1, 1, 1, -1], "yaw is measured clockwise"),
    "mirrored": (lambda boxes: boxes * [1, -1, 1, 1, 1, 1, -1], "left and right are swapped"),
    "camera axes": (
        lambda boxes: np.column_stack(
            [-boxes[:, 1], -boxes[:, 2], boxes[:, 0], boxes[:, 3:6], -boxes[:, 6] - np.pi / 2]
        ),
        "boxes are in a camera's axes",
    ),
    "LiDAR axes converted": (
        lambda boxes: np.column_stack(
            [boxes[:, 2], -boxes[:, 0], -boxes[:, 1], boxes[:, 3:6], -boxes[:, 6] - np.pi / 2]
        ),
        "boxes are in the LiDAR's axes",
    ),
    "other frames": (lambda boxes: boxes + 300 * np.eye(7)[0], "of the same frames"),
}


@pytest.mark.parametrize("fault", LABEL_FAULTS)
def test_planted_fault_of_labels_is_found(fault, frames):
    plant, expected = LABEL_FAULTS[fault]
    points, boxes = frames
    (finding,) = examine_boxes(points, [plant(frame) for frame in boxes])
    assert expected in finding.remedy


@pytest.mark.real
@pytest.mark.parametrize("fault", LABEL_FAULTS)
def test_planted_fault_of_real_labels_is_found(fault, kitti_root):
    plant, expected = LABEL_FAULTS[fault]
    files, boxes = read_labelled_scans(kitti_root)
    points = [read_points(file) for file in files[:20]]
    (finding,) = examine_boxes(points, [plant(frame) for frame in boxes[:20]])
    assert expected in finding.remedy


def test_few_boxes_prove_nothing(frames):
    points, boxes = frames
    assert examine_boxes(points[:1], [boxes[0][:3] + 100]) == []


def test_a_scan_of_one_point_has_measures():
    """Numpy warned that the median of no angle between beams is not a number."""
    scans = [measure_scan(np.float32([[10, 0, -1.7, 0.3]]))]
    assert re.search("angle between beams +unknown", format_measures(scans))
    assert examine_scans(scans)


def test_ground_of_a_plane_is_exact():
    rng = np.random.default_rng(0)
    x, y = rng.uniform(-12, 12, (2, 5000))
    points = np.column_stack([x, y, 0.1 * x - 0.05 * y - 2.0])
    points[::7, 2] += rng.uniform(0.2, 3, len(points[::7]))
    ground = find_ground(points)
    # Low points are the cells' 10 % quantiles, up to half a cell down the slope.
    assert ground.height_m == pytest.approx(2.0, abs=0.06)
    assert ground.tilt_deg == pytest.approx(np.degrees(np.arctan(np.hypot(0.1, 0.05))), abs=0.3)
    assert find_ground(points[:40]) is None


def test_command_names_the_option_and_is_silent_with_it(frames, tmp_path, capsys):
    (frames[0][0] - np.float32([0, 0, 0.8, 0])).tofile(tmp_path / "scan.bin")
    assert main(["doctor", str(tmp_path / "scan.bin")]) == 0
    assert "--height 2.5" in capsys.readouterr().out
    assert main(["doctor", str(tmp_path / "scan.bin"), "--height", "1.2"]) == 0
    assert "--height 2.5" in capsys.readouterr().out, "what is still missing is added to the option"
    assert main(["doctor", str(tmp_path / "scan.bin"), "--height", "2.53"]) == 0
    assert "nothing found that keeps a network from working" in capsys.readouterr().out


def test_every_option_that_the_doctor_names_goes_on_from_the_one_that_was_given(frames):
    frame = SensorFrame(height_m=1.2, rotate_z_rad=np.radians(30), intensity_scale=0.1)
    points = frames[0][0] * np.float32([1, 1, 1, 20])
    turned = SensorFrame(rotate_z_rad=np.radians(-90)).points_to_kitti(points) - np.float32([0, 0, 0.8, 0])
    said = examine_scans([measure_scan(frame.points_to_kitti(turned))], frame)
    options = dict(re.findall(r"(--[a-z-]+) (-?[0-9.]+)", " ".join(finding.remedy for finding in said)))
    assert float(options["--height"]) == pytest.approx(2.53, abs=0.1)
    assert float(options["--rotate-z"]) == pytest.approx(90, abs=5)
    assert float(options["--intensity-scale"]) == pytest.approx(0.001)
    (unit,) = examine_scans([measure_scan(frames[0][0] * np.float32([10, 10, 10, 1]))], unit_m=0.01)
    assert unit.remedy.startswith("the unit of length is another: --unit 0.001 ")


@pytest.mark.filterwarnings("ignore")
def test_import_says_what_the_doctor_finds(frames, tmp_path, capsys):
    """A wrong height or unit was said by the doctor alone, whom nobody has to ask before a training."""
    scans = [
        Labelled(points - np.float32([0, 0, 0.8, 0]), [("car", (*box[:2], box[2] + box[5] / 2 - 0.8, *box[3:]))])
        for points, boxes in zip(*frames, strict=True)
        for box in boxes[:1]
    ]
    write_sustech(tmp_path / "export", scans)
    command = ["import", str(tmp_path / "export"), "--from", "sustech", "--out", str(tmp_path / "root")]
    assert main(command) == 0
    assert "--height 2.5" in capsys.readouterr().out
    assert main([*command, "--height", "2.53"]) == 0
    assert "--height" not in capsys.readouterr().out


def test_command_examines_the_labels_of_a_root(root, capsys):
    assert main(["doctor", str(root)]) == 0
    assert "nothing found that keeps a network from working" in capsys.readouterr().out


def test_unit_and_frame_are_applied_when_a_scan_is_read(frames, tmp_path):
    scan = frames[0][0]
    (scan * np.float32([100, 100, 100, 1])).tofile(tmp_path / "scan.bin")
    read = SensorFrame().points_to_kitti(read_scan(tmp_path / "scan.bin", unit_m=0.01))
    np.testing.assert_allclose(read, scan, rtol=1e-5)
    with pytest.raises(ValueError, match="unit_m must be a finite number above 0, got 0"):
        read_scan(tmp_path / "scan.bin", unit_m=0)
