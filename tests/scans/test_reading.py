"""Scans read from each format; binary layouts recognised."""

import io
from pathlib import Path

import numpy as np
import pytest

from lidar_rank.kitti.files import read_points
from lidar_rank.scans import check_names_differ, list_scans, read_scan


def street(count: int = 4000) -> np.ndarray:
    """Points on a road and on walls beside it, with intensities."""
    rng = np.random.default_rng(0)
    x = rng.uniform(-60, 60, count)
    on_road = rng.random(count) < 0.7
    y = np.where(on_road, rng.uniform(-8, 8, count), rng.choice([-8, 8], count))
    z = np.where(on_road, -1.73, rng.uniform(-1.7, 2.5, count))
    return np.column_stack([x, y, z, rng.random(count)]).astype(np.float32)


POINTS = street()
RING = (np.arange(len(POINTS)) % 32).astype(np.float32)
TIME = np.linspace(0, 0.1, len(POINTS), dtype=np.float32)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(
    "columns", [(), (RING,), (RING, TIME)], ids=["four columns", "with ring", "with ring and time"]
)
@pytest.mark.parametrize("intensity", [1, 255])
def test_binary_layout_is_recognised(columns, dtype, intensity, tmp_path):
    expected = POINTS * np.float32([1, 1, 1, intensity])
    path = tmp_path / "scan.bin"
    np.column_stack([expected, *columns]).astype(dtype).tofile(path)
    np.testing.assert_array_equal(read_scan(path), expected)


def test_order_of_points_does_not_matter_for_recognition(tmp_path):
    order = np.random.default_rng(1).permutation(len(POINTS))
    expected = np.column_stack([POINTS, RING])[order]
    expected.tofile(tmp_path / "scan.bin")
    np.testing.assert_array_equal(read_scan(tmp_path / "scan.bin"), expected[:, :4])


@pytest.mark.real
def test_real_scans_are_recognised_whatever_is_cut_off(kitti_root, tmp_path):
    for scan in sorted((kitti_root / "training" / "velodyne").glob("*.bin"))[:10]:
        # 120 points: their bytes are whole rows of every layout.
        points = read_points(scan)
        points = points[: len(points) // 120 * 120]
        points.tofile(tmp_path / "scan.bin")
        np.testing.assert_array_equal(read_scan(tmp_path / "scan.bin"), points)


def test_columns_that_are_named_are_believed(tmp_path):
    np.column_stack([RING, POINTS]).tofile(tmp_path / "scan.bin")
    read = read_scan(tmp_path / "scan.bin", columns=["ring", "x", "y", "z", "intensity"], dtype="float32")
    np.testing.assert_array_equal(read, POINTS)


@pytest.mark.parametrize("named_dtype", ["float64", None])
@pytest.mark.parametrize("first", [1.7e9, 1.7e18], ids=["seconds", "nanoseconds"])
def test_a_named_column_that_is_not_read_may_hold_any_numbers(first, named_dtype, tmp_path):
    """Unix times are larger than other quantities of scans, and the file was said to be cut off."""
    np.column_stack([POINTS, first + TIME]).astype(np.float64).tofile(tmp_path / "scan.bin")
    read = read_scan(tmp_path / "scan.bin", columns=["x", "y", "z", "intensity", "time"], dtype=named_dtype)
    np.testing.assert_array_equal(read, POINTS)


def test_coordinates_and_intensities_of_named_columns_must_be_quantities(tmp_path):
    np.column_stack([POINTS, 1.7e9 + TIME]).astype(np.float64).tofile(tmp_path / "scan.bin")
    for columns in (["y", "z", "ring", "intensity", "x"], ["x", "y", "z", "ring", "intensity"]):
        with pytest.raises(
            ValueError, match="rows of 5 float64 numbers: the file is cut off, or has other columns: name"
        ):
            read_scan(tmp_path / "scan.bin", columns=columns, dtype="float64")


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_simulated_scans_have_coordinates_that_are_nearly_zero(dtype, tmp_path):
    """With 360 directions, more than a thousandth of all numbers are the 6e-16 that cos(pi / 2) leaves."""
    azimuth = np.repeat(np.radians(np.arange(360)), len(POINTS) // 360)
    range_m = np.hypot(POINTS[:, 0], POINTS[:, 1])[: len(azimuth)]
    around = np.column_stack([range_m * np.cos(azimuth), range_m * np.sin(azimuth), POINTS[: len(azimuth), 2:]])
    around.astype(dtype).tofile(tmp_path / "scan.bin")
    np.testing.assert_array_equal(read_scan(tmp_path / "scan.bin"), around.astype(np.float32))


def write_pcd(path: Path, encoding: str) -> None:
    from pypcd4 import Encoding, PointCloud

    PointCloud.from_xyzi_points(POINTS).save(path, Encoding(encoding))


def write_ply(path: Path, text: bool) -> None:
    from plyfile import PlyData, PlyElement

    names = ["x", "y", "z", "scalar_Intensity"]
    vertices = np.rec.fromarrays(list(POINTS.T), names=names)
    PlyData([PlyElement.describe(vertices, "vertex")], text=text).write(path)


@pytest.mark.parametrize("encoding", ["ascii", "binary", "binary_compressed"])
def test_pcd(encoding, tmp_path):
    write_pcd(tmp_path / "scan.pcd", encoding)
    np.testing.assert_allclose(read_scan(tmp_path / "scan.pcd"), POINTS, atol=1e-6)


TEXT = [" ".join(f"{value:.9g}" for value in row) for row in POINTS.tolist()]
PCD_BODIES = {
    "binary": POINTS.tobytes(),
    "blanks at the end": "".join(f"{row} \n" for row in TEXT).encode(),
    "tabs": "".join(f"{row}\n" for row in TEXT).replace(" ", "\t").encode(),
    "columns in line": "".join(f"  {row}\n" for row in TEXT).replace(" ", "  ").encode(),
    "lines of Windows": "".join(f"{row}\t\r\n" for row in TEXT).encode(),
}


PCD_HEADERS = {
    "of 0.7": "VERSION .7\n{}COUNT 1 1 1 1\nVIEWPOINT 0 0 0 1 0 0 0\n",
    "of 0.5": "# .PCD v.5 - Point Cloud Data file format\nVERSION .5\n{}",
    "without VERSION and COUNT": "{}VIEWPOINT 0 0 0 1 0 0 0\n",
}


@pytest.mark.parametrize("body", PCD_BODIES)
@pytest.mark.parametrize("header", PCD_HEADERS)
def test_pcd_in_every_form_that_the_format_allows(header, body, tmp_path):
    fields = "FIELDS x y z intensity\nSIZE 4 4 4 4\nTYPE F F F F\nWIDTH 4000\nHEIGHT 1\nPOINTS 4000\n"
    text = f"{PCD_HEADERS[header].format(fields)}DATA {'binary' if body == 'binary' else 'ascii'}\n"
    (tmp_path / "scan.pcd").write_bytes(text.encode() + PCD_BODIES[body])
    np.testing.assert_array_equal(read_scan(tmp_path / "scan.pcd"), POINTS)


@pytest.mark.parametrize("text", [True, False])
def test_ply(text, tmp_path):
    write_ply(tmp_path / "scan.ply", text)
    np.testing.assert_allclose(read_scan(tmp_path / "scan.ply"), POINTS, atol=1e-6)


@pytest.mark.parametrize("suffix", [".las", ".laz"])
def test_las(suffix, tmp_path):
    import laspy

    cloud = laspy.create()
    cloud.header.scales = [0.001, 0.001, 0.001]
    cloud.x, cloud.y, cloud.z = POINTS[:, :3].T
    cloud.intensity = (POINTS[:, 3] * 65535).astype(np.uint16)
    cloud.write(tmp_path / f"scan{suffix}")
    read = read_scan(tmp_path / f"scan{suffix}")
    np.testing.assert_allclose(read[:, :3], POINTS[:, :3], atol=0.0006)
    np.testing.assert_allclose(read[:, 3] / 65535, POINTS[:, 3], atol=2e-5)


@pytest.mark.parametrize(
    ("header", "separator"), [("X,Y,Z,Intensity", ","), ("x;y;z;reflectivity", ";"), ("x y z i", " "), (None, ",")]
)
def test_csv(header, separator, tmp_path):
    rows = [separator.join(map(str, row)) for row in POINTS.tolist()]
    (tmp_path / "scan.csv").write_text("\n".join([header, *rows] if header else rows))
    np.testing.assert_array_equal(read_scan(tmp_path / "scan.csv"), POINTS)


def test_npy_with_and_without_names(tmp_path):
    np.save(tmp_path / "plain.npy", POINTS)
    np.save(tmp_path / "named.npy", np.rec.fromarrays(list(POINTS.T[::-1]), names="intensity,z,y,x"))
    np.testing.assert_array_equal(read_scan(tmp_path / "plain.npy"), POINTS)
    np.testing.assert_array_equal(read_scan(tmp_path / "named.npy"), POINTS)


def test_points_without_echo_are_left_out_with_a_warning(tmp_path):
    points = POINTS.copy()
    points[::10, :3] = np.nan
    points.tofile(tmp_path / "scan.bin")
    with pytest.warns(UserWarning, match="400 of 4000 points are not finite"):
        read = read_scan(tmp_path / "scan.bin")
    np.testing.assert_array_equal(read, points[np.isfinite(points).all(axis=1)])


def test_absent_intensity_is_zero_with_a_warning(tmp_path):
    np.save(tmp_path / "scan.npy", POINTS[:, :3])
    with pytest.warns(UserWarning, match="no intensity among the columns x, y, z"):
        read = read_scan(tmp_path / "scan.npy")
    assert (read[:, 3] == 0).all()


def test_intensities_that_are_not_finite_are_zero_with_a_warning(tmp_path):
    """Their points were left out, and a scan without any intensity held no point."""
    for missing in (np.s_[::10], np.s_[:]):
        points = POINTS.copy()
        points[missing, 3] = np.nan
        points.tofile(tmp_path / "scan.bin")
        with pytest.warns(UserWarning, match="intensities are not finite: 0 is taken"):
            read = read_scan(tmp_path / "scan.bin")
        np.testing.assert_array_equal(read, np.nan_to_num(points, nan=0))


def test_infinite_coordinates_are_left_out_like_those_that_are_no_numbers(tmp_path):
    points = POINTS.copy()
    points[::10, :3] = np.inf
    points.tofile(tmp_path / "scan.bin")
    with pytest.warns(UserWarning, match="400 of 4000 points are not finite: left out"):
        assert len(read_scan(tmp_path / "scan.bin")) == 3600


def test_columns_that_are_named_replace_the_names_of_the_file(tmp_path):
    rows = [",".join(map(str, row)) for row in POINTS.tolist()]
    (tmp_path / "scan.csv").write_text("\n".join(["left,up,ahead,echo", *rows]))
    read = read_scan(tmp_path / "scan.csv", columns=["y", "z", "x", "intensity"])
    np.testing.assert_array_equal(read, POINTS[:, [2, 0, 1, 3]])
    with pytest.raises(ValueError, match=r"it has 4 columns \(left, up, ahead, echo\): name them all"):
        read_scan(tmp_path / "scan.csv", columns=["x", "y", "z"])


PCD_HEADER = b"VERSION .7\nSIZE 4 4 4\nTYPE F F F\nCOUNT 1 1 1\nHEIGHT 1\nVIEWPOINT 0 0 0 1 0 0 0\nWIDTH 1\nPOINTS 1\n"


def npy(table: np.ndarray) -> bytes:
    """The bytes of a ``.npy`` file."""
    file = io.BytesIO()
    np.save(file, table)
    return file.getvalue()


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("scan.bin", b"", "the file is empty"),
        ("scan.bin", POINTS.tobytes()[:-5], "bytes are not rows of 4 to 6 float32 or float64 numbers"),
        ("scan.bin", bytes(range(256)) * 60, "are not rows of 4 to 6"),
        ("scan.npy", b"not numpy", "cannot be read as .npy"),
        ("scan.pcd", b"VERSION .7\nFIELDS x y", "cannot be read as .pcd"),
        ("scan.ply", b"ply\nformat ascii", "cannot be read as .ply"),
        ("scan.las", b"LASF0000", "cannot be read as .las"),
        ("scan.csv", b"x,y,z\n1,2,three\n", "cannot be read as .csv"),
        ("scan.csv", b"a,b\n1,2\n", r"no column x, y, z among a, b: name all columns in their order \(columns=..., --"),
        ("scan.csv", b"\n\n", "holds no points"),
        ("scan.csv", b"x,y,z,intensity\n", "holds no points"),
        ("scan.pcd", b"hello\n", "cannot be read as .pcd: there is no header: export or copy the file again"),
        ("scan.pcd", PCD_HEADER + b"FIELDS x y w\nDATA ascii\n1 2 3\n", "no column z among x, y, w: name all columns"),
        ("scan.pcd", PCD_HEADER.replace(b"S 1", b"S 0") + b"FIELDS x y z\nDATA binary\n", "holds no points"),
        (
            "scan.ply",
            b"ply\nformat ascii 1.0\nelement face 1\nproperty float x\nend_header\n1\n",
            "no element 'vertex'",
        ),
        ("scan.npy", npy(np.array([["1", "2", "3", "4"]])), "column x holds str32 values, expected real numbers"),
        ("scan.npy", npy(POINTS.astype(complex)), "column x holds complex128 values, expected real numbers"),
        ("scan.csv", b"1,2\n3,4\n", "2 columns: name them all"),
        ("scan.obj", b"v 1 2 3", "a scan is read from .bin, .npy, .pcd, .ply, .las, .laz, .csv files"),
        ("scan.bin", np.full((60, 4), np.nan, np.float32).tobytes(), "no point with finite coordinates"),
    ],
)
def test_unreadable_file_is_named(name, content, message, tmp_path):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=message) as error:
        read_scan(tmp_path / name)
    assert str(tmp_path / name) in str(error.value)
    assert "\n" not in str(error.value)


def test_a_file_whose_last_points_are_cut_off_is_refused(tmp_path):
    """Files that end at the border of two points were read as whole ones."""
    import laspy

    write_pcd(tmp_path / "scan.pcd", "binary")
    cloud = laspy.create()
    cloud.x = cloud.y = cloud.z = np.arange(4000.0)
    cloud.write(tmp_path / "scan.las")
    for name, bytes_of_point in (("scan.pcd", 16), ("scan.las", cloud.point_format.size)):
        path = tmp_path / name
        path.write_bytes(path.read_bytes()[: -10 * bytes_of_point])
        with pytest.raises(ValueError, match="the header announces 4000 points, and 3990 are there"):
            read_scan(path)


def test_wrong_columns_are_refused(tmp_path):
    POINTS.tofile(tmp_path / "scan.bin")
    with pytest.raises(ValueError, match="columns must name x, y and z"):
        read_scan(tmp_path / "scan.bin", columns=["x", "y", "intensity"])
    with pytest.raises(ValueError, match="dtype must be float32 or float64, got 'int8'"):
        read_scan(tmp_path / "scan.bin", dtype="int8")


def test_scans_are_listed_in_order_and_once(tmp_path):
    for name in ("b.bin", "a.pcd", "notes.txt"):
        (tmp_path / name).touch()
    assert [path.name for path in list_scans([tmp_path])] == ["a.pcd", "b.bin"]
    (tmp_path / "c").mkdir()
    (tmp_path / "c" / "a.ply").touch()
    again = [tmp_path / "a.pcd", tmp_path / "c" / ".." / "b.bin"]
    assert [path.name for path in list_scans([tmp_path, *again])] == ["a.pcd", "b.bin"]
    assert [path.name for path in list_scans([tmp_path, tmp_path / "c"])] == ["a.pcd", "b.bin", "a.ply"]
    with pytest.raises(ValueError, match=r"a.pcd and .*a.ply would have the same results, a.json: name another --out"):
        check_names_differ(list_scans([tmp_path, tmp_path / "c"]))
    with pytest.raises(FileNotFoundError, match="no scan at"):
        list_scans([tmp_path / "d.bin"])
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileNotFoundError, match="no scan in"):
        list_scans([tmp_path / "empty"])
