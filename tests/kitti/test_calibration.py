"""Calibration against the official files: their text, their labels' image boxes, and the devkit's box corners."""

from pathlib import Path

import numpy as np
import pytest

from lidar_rank.kitti.calibration import WITHOUT_CAMERA, Calibration, format_calibration, read_calibration

REAL_FRAMES = ("000000", "000008", "000134", "003740", "007480")

LINES = {
    "P0": "700 0 600 0 0 700 180 0 0 0 1 0",
    "P1": "700 0 600 -380 0 700 180 0 0 0 1 0",
    "P2": "700 0 600 45 0 700 180 -0.3 0 0 1 0.005",
    "P3": "700 0 600 -330 0 700 180 2.3 0 0 1 0.003",
    "R0_rect": "1 0 0 0 1 0 0 0 1",
    "Tr_velo_to_cam": "0 -1 0 0 0 0 -1 -0.08 1 0 0 -0.27",
    "Tr_imu_to_velo": "1 0 0 -0.8 0 1 0 0.3 0 0 1 -0.8",
}


def write_lines(path: Path, **changes: str | None) -> Path:
    """A calibration file; a change of None drops the line."""
    lines = {**LINES, **changes}
    path.write_text("".join(f"{name}: {values}\n" for name, values in lines.items() if values is not None))
    return path


@pytest.fixture
def simple(tmp_path: Path) -> Calibration:
    """Axis-aligned sensors, so that results can be written down by hand."""
    return read_calibration(write_lines(tmp_path / "000000.txt"))


def camera_corners(location_m: np.ndarray, size_m: np.ndarray, yaw_rad: float) -> np.ndarray:
    """Corners as the devkit draws them: length on x, height on -y, width on z, turned about y."""
    height, width, length = size_m
    x = length / 2 * np.array([1, 1, -1, -1, 1, 1, -1, -1])
    y = height * np.array([0, 0, 0, 0, -1, -1, -1, -1])
    z = width / 2 * np.array([1, -1, -1, 1, 1, -1, -1, 1])
    cos, sin = np.cos(yaw_rad), np.sin(yaw_rad)
    return np.stack([cos * x + sin * z, y, cos * z - sin * x], axis=1) + location_m


def lidar_corners(box: np.ndarray) -> np.ndarray:
    """Corners in the order of camera_corners: length along yaw, width to its right is +z of the camera box."""
    x, y, z_bottom, length, width, height, yaw = box
    along = length / 2 * np.array([1, 1, -1, -1, 1, 1, -1, -1])
    across = width / 2 * np.array([1, -1, -1, 1, 1, -1, -1, 1])
    up = height * np.array([0, 0, 0, 0, 1, 1, 1, 1])
    cos, sin = np.cos(yaw), np.sin(yaw)
    return np.stack([x + cos * along - sin * across, y + sin * along + cos * across, z_bottom + up], axis=1)


def read_label_columns(path: Path) -> np.ndarray:
    """The 14 numbers of each labelled object."""
    lines = [line.split() for line in path.read_text().splitlines()]
    return np.array([line[1:15] for line in lines if line[0] != "DontCare"], dtype=float)


@pytest.mark.real
@pytest.mark.parametrize("name", REAL_FRAMES)
def test_official_file_survives_reading_and_formatting(kitti_root, name):
    path = kitti_root / "training" / "calib" / f"{name}.txt"
    assert format_calibration(read_calibration(path)) == path.read_text().rstrip("\n") + "\n"


@pytest.mark.real
@pytest.mark.parametrize("name", REAL_FRAMES)
def test_points_and_boxes_come_back_from_the_camera(kitti_root, name):
    calibration = read_calibration(kitti_root / "training" / "calib" / f"{name}.txt")
    rng = np.random.default_rng(0)
    points = rng.uniform(-80, 80, (100, 3))
    np.testing.assert_allclose(calibration.camera_to_lidar(calibration.lidar_to_camera(points)), points, atol=1e-11)
    boxes = np.column_stack([points, rng.uniform(0.5, 5, (100, 3)), rng.uniform(-np.pi, np.pi, 100)])
    returned = calibration.camera_boxes_to_lidar(*calibration.lidar_boxes_to_camera(boxes))
    np.testing.assert_allclose(returned, boxes, atol=1e-11)


@pytest.mark.real
def test_lidar_box_has_the_corners_of_the_devkit_box(kitti_root):
    checked = 0
    for name in REAL_FRAMES:
        calibration = read_calibration(kitti_root / "training" / "calib" / f"{name}.txt")
        columns = read_label_columns(kitti_root / "training" / "label_2" / f"{name}.txt")
        location, size, yaw = columns[:, 10:13], columns[:, 7:10], columns[:, 13]
        boxes = calibration.camera_boxes_to_lidar(location, size, yaw)
        for i, box in enumerate(boxes):
            expected = calibration.camera_to_lidar(camera_corners(location[i], size[i], yaw[i]))
            # The camera is tilted by about a degree: 0.1 m at the far corner of a 4 m car.
            np.testing.assert_allclose(lidar_corners(box), expected, atol=0.1)
            checked += 1
    assert checked > 10


@pytest.mark.real
def test_corners_project_onto_the_labelled_image_box(kitti_root):
    errors_px = []
    for path in sorted((kitti_root / "training" / "label_2").glob("00001*.txt")):
        calibration = read_calibration(kitti_root / "training" / "calib" / path.name)
        for columns in read_label_columns(path):
            if columns[0] == 0 and columns[12] > 5:  # whole in the image, and in front of the camera
                corners = camera_corners(columns[10:13], columns[7:10], columns[13])
                pixels, depth_m = calibration.lidar_to_image(calibration.camera_to_lidar(corners))
                assert (depth_m > 0).all()
                errors_px.append(np.abs([*pixels.min(0), *pixels.max(0)] - columns[3:7]).max())
    assert len(errors_px) > 20
    assert np.median(errors_px) < 4


def test_projection_by_hand(simple):
    # 10 m ahead of the LiDAR, 1 m left, 0.5 m up: camera x = -1, y = -0.58, z = 9.73.
    point = np.array([[10.0, 1.0, 0.5]])
    np.testing.assert_allclose(simple.lidar_to_camera(point), [[-1, -0.58, 9.73]], atol=1e-12)
    pixels, depth_m = simple.lidar_to_image(point)
    np.testing.assert_allclose(depth_m, [9.735])
    np.testing.assert_allclose(pixels, [[(-700 + 600 * 9.73 + 45) / 9.735, (-0.58 * 700 + 180 * 9.73 - 0.3) / 9.735]])


def test_a_car_driving_ahead_has_lidar_yaw_zero(simple):
    boxes = simple.camera_boxes_to_lidar(
        np.array([[-1, 1.5, 9.73]]), np.array([[1.5, 1.6, 3.9]]), np.array([-np.pi / 2])
    )
    np.testing.assert_allclose(boxes, [[10, 1, -1.58, 3.9, 1.6, 1.5, 0]], atol=1e-12)


def test_in_image_is_the_open_frustum(simple):
    width_px, height_px = 1200, 360
    u, v, depth_m = np.array(
        [
            (600, 180, 20),  # in the middle
            (1e-3, 180, 20),  # just inside each border
            (1199.999, 180, 20),
            (600, 1e-3, 20),
            (600, 359.999, 20),
            (600, 180, 99.99),
            (-1e-3, 180, 20),  # just outside each border
            (1200.001, 180, 20),
            (600, -1e-3, 20),
            (600, 360.001, 20),
            (600, 180, 100.01),
            (600, 180, 0.0005),
            (600, 180, -20),  # behind: the same pixel
        ]
    ).T
    scaled = np.stack([u * depth_m, v * depth_m, depth_m]) - simple.projections[2][:, 3:]
    points = simple.camera_to_lidar(np.linalg.solve(simple.projections[2][:, :3], scaled).T)
    assert simple.in_image(points, (width_px, height_px)).tolist() == [True] * 6 + [False] * 7


def test_the_imu_is_optional(tmp_path):
    calibration = read_calibration(write_lines(tmp_path / "000000.txt", Tr_imu_to_velo=None))
    assert calibration.imu_to_lidar is None
    assert "imu" not in format_calibration(calibration)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"Tr_velo_to_cam": None}, "000000.txt: no Tr_velo_to_cam; found P0, P1, P2, P3, R0_rect"),
        ({"P2": "1 2 3"}, "000000.txt:3: P2 has 3 values, expected 12"),
        ({"R0_rect": "1 0 0 0 1 0 0 0 one"}, "000000.txt:5: a value of R0_rect must be a finite number, got 'one'"),
        ({"P1": "nan" + LINES["P1"][3:]}, "000000.txt:2: a value of P1 must be a finite number, got 'nan'"),
        ({"P1": "1_000" + LINES["P1"][3:]}, "000000.txt:2: a value of P1 must be a finite number, got '1_000'"),
        ({"R0_rect": "0 0 0 0 0 0 0 0 0"}, "000000.txt: the first three columns of R0_rect are not a rotation matrix"),
        ({"R0_rect": "1e200 0 0 0 1 0 0 0 1"}, "R0_rect are not a rotation matrix"),
        ({"R0_rect": "2 0 0 0 0.5 0 0 0 1"}, "R0_rect are not a rotation matrix"),
    ],
)
def test_bad_files_are_named(tmp_path, changes, message):
    with pytest.raises(ValueError, match=message) as error:
        read_calibration(write_lines(tmp_path / "000000.txt", **changes))
    assert "\n" not in str(error.value)


def test_a_file_of_another_kind_is_named(tmp_path):
    path = tmp_path / "000000.txt"
    path.write_bytes(b"\x89PNG\r\n\x1a\n\x00\x01")
    with pytest.raises(ValueError, match=r"000000.txt:1: not UTF-8 text"):
        read_calibration(path)
    path.write_text("seven")
    with pytest.raises(ValueError, match=r"000000.txt:1: expected 'NAME: values', got 'seven'"):
        read_calibration(path)


def test_a_file_without_projections_is_that_of_a_scan_without_camera(tmp_path):
    path = tmp_path / "000000.txt"
    path.write_text(format_calibration(WITHOUT_CAMERA))
    assert "P2" not in path.read_text()
    calibration = read_calibration(path)
    assert not calibration.has_camera
    np.testing.assert_array_equal(calibration.lidar_to_camera(np.array([[1.0, 2.0, 3.0]])), [[-2.0, -3.0, 1.0]])
    for use in (calibration.lidar_to_image, lambda points: calibration.in_image(points, (1242, 375))):
        with pytest.raises(ValueError, match="no camera"):
            use(np.zeros((1, 3)))


def test_some_missing_projections_are_an_error(tmp_path):
    path = tmp_path / "000000.txt"
    path.write_text("P2: 1 0 0 0 0 1 0 0 0 0 1 0\n" + format_calibration(WITHOUT_CAMERA))
    with pytest.raises(ValueError, match="no P0, P1, P3; found P2"):
        read_calibration(path)
