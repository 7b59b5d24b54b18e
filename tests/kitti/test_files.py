"""Whole files or none: scans, image headers and atomic writing."""

import re

import numpy as np
import pytest
from PIL import Image

from lidar_rank.kitti.files import (
    parse_number,
    read_lines,
    read_png_size,
    read_points,
    remove_temporary_files,
    temporary_path,
    write_atomically,
)

TEXT = "Car 0.5\n\nTüröffner\t7 \n"
LINES = ["Car 0.5", "", "Türöffner\t7 "]


@pytest.mark.parametrize("line_end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_lines_do_not_depend_on_line_ends_and_byte_order_marks(tmp_path, encoding, line_end):
    path = tmp_path / "000000.txt"
    path.write_bytes(TEXT.replace("\n", line_end).encode(encoding))
    assert read_lines(path) == LINES
    path.write_bytes(TEXT.replace("ü", "u").replace("ö", "o").replace("\n", line_end).encode(encoding))
    assert read_lines(path) == [line.replace("ü", "u").replace("ö", "o") for line in LINES]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("one\ntwo Türen".encode("latin-1"), r":2: not UTF-8 text \(invalid start byte\): save the file as UTF-8"),
        ("one\rtwo\xa0three".encode(), r":2: unexpected character U\+00A0 NO-BREAK SPACE: use printable characters"),
        (b"one\r\n\x1ctwo", r":2: unexpected character U\+001C: use"),
        (b"one\x0btwo", r":1: unexpected character U\+000B"),
        ("one\ufefftwo".encode(), r":1: unexpected character U\+FEFF ZERO WIDTH NO-BREAK SPACE"),
        ("one\n\ntwo\u2028".encode(), r":3: unexpected character U\+2028 LINE SEPARATOR"),
        ("one".encode("utf-16-le"), r":1: unexpected character U\+0000"),
        ("one\ntwo".encode("utf-16")[:-1], r":2: not UTF-16 text \(truncated data\)"),
    ],
)
def test_text_that_cannot_be_read_whole_is_refused_by_file_and_line(tmp_path, content, message):
    (tmp_path / "000000.txt").write_bytes(content)
    with pytest.raises(ValueError, match=f"000000.txt{message}"):
        read_lines(tmp_path / "000000.txt")


def test_numbers_are_finite_and_decimal():
    assert [parse_number(word) for word in ("1", "-0.5", "+2e3", ".5", "1.")] == [1, -0.5, 2000, 0.5, 1]
    for word in ("1_000", "\uff11", "nan", "inf", "infinity", "1e999", "0x10", "1,5", "", "one"):
        with pytest.raises(ValueError, match="must be a finite number, got "):
            parse_number(word)


def test_points_come_back_as_written(tmp_path):
    points = np.random.default_rng(0).normal(size=(7, 4)).astype(np.float32)
    points.tofile(tmp_path / "000000.bin")
    np.testing.assert_array_equal(read_points(tmp_path / "000000.bin"), points)


def test_an_empty_scan_has_no_points(tmp_path):
    (tmp_path / "000000.bin").touch()
    assert read_points(tmp_path / "000000.bin").shape == (0, 4)


def test_a_cut_off_scan_is_named(tmp_path):
    (tmp_path / "000000.bin").write_bytes(bytes(16 * 3 + 5))
    with pytest.raises(ValueError, match=r"000000.bin: 53 bytes are not a multiple of 16"):
        read_points(tmp_path / "000000.bin")


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_the_first_point_that_is_not_finite_is_named(tmp_path, value):
    points = np.zeros((9, 4), dtype=np.float32)
    points[5, 2] = points[7, 3] = value
    points.tofile(tmp_path / "000000.bin")
    with pytest.raises(ValueError, match=r"000000.bin: point 5 \(byte 80\) is not finite"):
        read_points(tmp_path / "000000.bin")


def test_png_size_is_that_of_pillow(tmp_path):
    Image.new("RGB", (1242, 375)).save(tmp_path / "000000.png")
    assert read_png_size(tmp_path / "000000.png") == (1242, 375)


@pytest.mark.parametrize("image_format", ["JPEG", None])
def test_other_images_are_named(tmp_path, image_format):
    path = tmp_path / "000000.png"
    Image.new("RGB", (64, 64)).save(path, format=image_format or "PNG")
    if image_format is None:
        path.write_bytes(path.read_bytes()[:20])
    with pytest.raises(ValueError, match=r"000000.png: not a PNG image"):
        read_png_size(path)


def test_writing_replaces_and_leaves_nothing_else(tmp_path):
    path = tmp_path / "infos.pkl"
    path.write_bytes(b"old and longer")
    write_atomically(path, b"new")
    assert {entry.name: entry.read_bytes() for entry in tmp_path.iterdir()} == {"infos.pkl": b"new"}


def test_a_full_disk_keeps_the_old_file_and_is_named(tmp_path):
    path = tmp_path / "infos.pkl"
    path.write_bytes(b"old")
    # The system's device that is always full stands in for the temporary file.
    temporary_path(tmp_path / "infos.pkl").symlink_to("/dev/full")
    with pytest.raises(OSError, match=re.escape(f"No space left on device: '{path}'")):
        write_atomically(path, b"new")
    assert [entry.name for entry in tmp_path.iterdir()] == ["infos.pkl"]
    assert path.read_bytes() == b"old"


def test_only_temporary_files_are_removed(tmp_path):
    for name in (".000000.bin.17.tmp", "000000.bin", ".hidden", "notes.tmp"):
        (tmp_path / name).touch()
    remove_temporary_files(tmp_path)
    assert {entry.name for entry in tmp_path.iterdir()} == {"000000.bin", ".hidden", "notes.tmp"}
