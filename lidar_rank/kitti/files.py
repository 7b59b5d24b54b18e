"""Reading and writing the files of a KITTI-format root: complete, or an error that names the file."""

import codecs
import math
import os
import platform
import unicodedata
from pathlib import Path
from typing import Final

import numpy as np
from numpy import ndarray

from lidar_rank.shapes import Float32

BYTES_PER_POINT: Final = 16  # x, y, z, reflectance: four float32
TEMPORARY_NAME: Final = ".{name}.{writer}.tmp"
PNG_SIGNATURE: Final = b"\x89PNG\r\n\x1a\n"
PLAIN_BYTES: Final = bytes(range(0x20, 0x7F)) + b"\t\r\n"


def read_lines(path: Path) -> list[str]:
    r"""Read the lines of a text file; every text file of a data set is read by this function.

    Lines end with ``\n``, ``\r\n`` or ``\r``. The encoding is UTF-8, with or without a byte-order mark, or UTF-16 with
    one. All characters are printable, and words are separated by spaces and tabs only, so that ``str.split`` finds the
    words that a reader of the file sees.

    Raises:
        OSError: the file cannot be read.
        ValueError: the file holds something else; the message names file and line.
    """
    content = path.read_bytes()
    is_plain = not content.translate(None, PLAIN_BYTES)
    return (content.decode("ascii") if is_plain else _decode(path, content)).splitlines()


def parse_number(word: str) -> float:
    """Parse a decimal number.

    Python's ``float`` also accepts underscores, digits of other scripts, ``nan`` and ``inf``; this function does not.

    Raises:
        ValueError: ``word`` is not a finite decimal number.
    """
    try:
        number = float(word) if word.isascii() and "_" not in word else math.nan
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise ValueError(f"must be a finite number, got {word!r}")
    return number


def read_points(path: Path) -> Float32[ndarray, "point 4"]:
    """Read one scan: x, y, z in metres (LiDAR frame) and reflectance.

    Args:
        path: A ``velodyne`` file of float32 quadruples.

    Returns:
        The points, in the file's order.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the size is not a multiple of 16 bytes, or a value is NaN or infinite; the message names the file.
    """
    check_points_size(path)
    points = np.fromfile(path, dtype=np.float32).reshape(-1, 4)
    finite = np.isfinite(points)
    if not finite.all():
        first = int(np.argmin(finite.all(axis=1)))
        raise ValueError(f"{path}: point {first} (byte {first * BYTES_PER_POINT}) is not finite: {points[first]}")
    return points


def check_points_size(path: Path) -> None:
    """Check, without reading it, that a scan holds whole points.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the size is not a multiple of 16 bytes.
    """
    size = path.stat().st_size
    if size % BYTES_PER_POINT:
        raise ValueError(
            f"{path}: {size} bytes are not a multiple of {BYTES_PER_POINT}: the file is cut off or is not a scan"
        )


def read_png_size(path: Path) -> tuple[int, int]:
    """Read width and height of a PNG from its first 24 bytes.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is not a PNG image, or its header is damaged.
    """
    with path.open("rb") as file:
        header = file.read(24)
    width_px, height_px = int.from_bytes(header[16:20], "big"), int.from_bytes(header[20:24], "big")
    if not header.startswith(PNG_SIGNATURE) or header[12:16] != b"IHDR" or not (width_px and height_px):
        raise ValueError(f"{path}: not a PNG image, or its header is damaged")
    return width_px, height_px


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file so that it appears complete or not at all.

    Args:
        path: The final name; an existing file of that name is replaced.
        content: The whole file.

    Raises:
        OSError: the disk is full, or the folder cannot be written to; the message names ``path`` and nothing is left.
    """
    temporary = temporary_path(path)
    try:
        temporary.write_bytes(content)
        temporary.replace(path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise OSError(error.errno, error.strerror, str(path)) from error


def temporary_path(path: Path) -> Path:
    """Where this process writes a file before it appears; processes on many machines may share a disk."""
    return path.with_name(TEMPORARY_NAME.format(name=path.name, writer=f"{platform.node()}-{os.getpid()}"))


def remove_temporary_files(folder: Path) -> None:
    """Delete the temporary files of runs that were killed inside :func:`write_atomically`."""
    for temporary in folder.glob(TEMPORARY_NAME.format(name="*", writer="*")):
        temporary.unlink()


def _decode(path: Path, content: bytes) -> str:
    """Text of a file that is more than plain ASCII; see :func:`read_lines`."""
    is_utf_16 = content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    encoding, name = ("utf-16", "UTF-16") if is_utf_16 else ("utf-8-sig", "UTF-8")
    try:
        text = content.decode(encoding)
    except UnicodeDecodeError as error:
        before = content[: error.start].decode(encoding, errors="replace")
        raise ValueError(
            f"{path}:{_line_number(before)}: not {name} text ({error.reason}): save the file as UTF-8"
        ) from None
    for position, character in enumerate(text):
        if not character.isprintable() and character not in "\t\r\n":
            code = f"U+{ord(character):04X} {unicodedata.name(character, '')}".rstrip()
            raise ValueError(
                f"{path}:{_line_number(text[:position])}: unexpected character {code}: use printable characters,"
                f" spaces and tabs only, and save the file as UTF-8"
            )
    return text


def _line_number(before: str) -> int:
    """Number of the line that follows the text ``before``, from 1."""
    return before.replace("\r\n", "\n").replace("\r", "\n").count("\n") + 1
