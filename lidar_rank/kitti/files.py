"""Reading and writing the files of a KITTI-format root, whole or not at all."""

import os
from pathlib import Path
from typing import Final

import numpy as np
from jaxtyping import Float32
from numpy import ndarray

BYTES_PER_POINT: Final = 16  # x, y, z, reflectance: four float32
TEMPORARY_NAME: Final = ".{name}.{pid}.tmp"
PNG_SIGNATURE: Final = b"\x89PNG\r\n\x1a\n"


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
        raise ValueError(f"{path}: {size} bytes are not a multiple of {BYTES_PER_POINT}: cut off, or no scan")


def read_png_size(path: Path) -> tuple[int, int]:
    """Read width and height of a PNG from its first 24 bytes.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is no PNG.
    """
    with path.open("rb") as file:
        header = file.read(24)
    if len(header) < 24 or not header.startswith(PNG_SIGNATURE):
        raise ValueError(f"{path}: no PNG image")
    return int.from_bytes(header[16:20], "big"), int.from_bytes(header[20:24], "big")


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file so that nobody ever sees a part of it.

    Args:
        path: The final name; an old file of that name is replaced.
        content: All of its bytes.

    Raises:
        OSError: the disk is full, or the folder cannot be written to; the message names ``path`` and nothing is left.
    """
    temporary = path.with_name(TEMPORARY_NAME.format(name=path.name, pid=os.getpid()))
    try:
        temporary.write_bytes(content)
        temporary.replace(path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise OSError(error.errno, error.strerror, str(path)) from error


def remove_temporary_files(folder: Path) -> None:
    """Delete what runs that were killed inside :func:`write_atomically` left in ``folder``."""
    for temporary in folder.glob(TEMPORARY_NAME.format(name="*", pid="*")):
        temporary.unlink()
