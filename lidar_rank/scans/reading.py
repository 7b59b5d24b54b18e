"""Reading one scan from the files that sensors, robots and annotation tools write."""

import re
import warnings
from collections.abc import Callable, Mapping, Sequence
from io import BufferedReader, BytesIO
from itertools import product
from pathlib import Path
from typing import Final

import numpy as np
from numpy import ndarray

from lidar_rank.kitti.files import read_lines
from lidar_rank.shapes import Float, Float32

COORDINATES: Final = ("x", "y", "z")
# Names under which sensors and tools store the strength of the echo, in order of preference.
INTENSITY_NAMES: Final = ("intensity", "i", "reflectance", "reflectivity", "remission", "signal")
# Names of a binary file's columns by their number: KITTI writes four, nuScenes and others five or six.
BINARY_COLUMNS: Final = {
    3: COORDINATES,
    4: (*COORDINATES, "intensity"),
    5: (*COORDINATES, "intensity", "ring"),
    6: (*COORDINATES, "intensity", "ring", "time"),
}
RECOGNISED_COUNTS: Final = (4, 5, 6)
# Metres, reflectance, rings and seconds lie between these, as do simulated zeros such as 10 cos(pi / 2) = 6e-16; other
# formats' bytes read as numbers seldom do.
SMALLEST, LARGEST = 1e-18, 1e7
QUANTILES: Final = np.linspace(0.05, 0.95, 19)


def read_scan(
    path: Path | str, *, columns: Sequence[str] | None = None, dtype: str | None = None, unit_m: float = 1.0
) -> Float32[ndarray, "point 4"]:
    """Read a scan from a ``.bin``, ``.npy``, ``.pcd``, ``.ply``, ``.las``, ``.laz`` or ``.csv`` file.

    Args:
        path: The file; its suffix decides the format.
        columns: Names of all columns in their order, such as ``("x", "y", "z", "intensity")``. Default: as the file
            names them, else four columns as KITTI's, or five or six with ``ring`` and ``time``. For ``.bin`` files the
            number of columns is recognised.
        dtype: ``"float32"`` or ``"float64"`` for a ``.bin`` file; by default it is recognised.
        unit_m: Length of the file's unit in metres, such as 0.001.

    Returns:
        x, y, z in metres, in the axes of the file, and the intensity as in the file, or 0 where it has none (with a
        warning), or where it is not finite (with a warning).
        Points with a coordinate that is not finite, as organised clouds have them where no echo returned, are left out
        (with a warning).

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the format is not known, the file is damaged or empty, or its columns cannot be told; the message
            names the file.
        ImportError: the package that reads the format is not installed.
    """
    path = Path(path)
    if not 0 < unit_m < np.inf:
        raise ValueError(f"unit_m must be a finite number above 0, got {unit_m}")
    if not path.is_file():
        raise FileNotFoundError(f"no scan at {path}")
    if path.suffix.lower() not in SUFFIXES:
        raise ValueError(f"{path}: a scan is read from {', '.join(SUFFIXES)} files, got {path.suffix or 'no suffix'}")
    if path.stat().st_size == 0:
        raise ValueError(f"{path}: the file is empty: export or copy it again, or remove it")
    if columns is not None:
        _check_columns(columns)
    if path.suffix.lower() == ".bin":
        return _points(path, _read_binary(path, columns, dtype), unit_m)
    try:
        table = _READERS[path.suffix.lower()](path)
    except ImportError as error:
        raise ImportError(f"{path}: {error.name} reads such files: pip install 'lidar_rank[scans]'") from error
    except (OSError, MemoryError):
        raise
    except Exception as error:  # each reader has errors of its own for damaged files
        reason = " ".join(str(error).split())  # of several lines, from some readers
        raise ValueError(
            f"{path}: cannot be read as {path.suffix}: {reason}: export or copy the file again, or remove it"
        ) from error
    return _points(path, _named(path, table, columns), unit_m)


def list_scans(paths: Sequence[Path]) -> list[Path]:
    """List scans: the files among ``paths``, and those in the folders among them, in the order of their names.

    A file that is named twice is listed once.

    Raises:
        FileNotFoundError: a path does not exist, or a folder holds no scan.
    """
    files: list[Path] = []
    for path in paths:
        if path.is_dir():
            found = sorted(file for file in path.iterdir() if file.suffix.lower() in SUFFIXES)
            if not found:
                raise FileNotFoundError(f"no scan in {path}: scans are {', '.join(SUFFIXES)} files")
            files += found
        elif path.is_file():
            files.append(path)
        else:
            raise FileNotFoundError(f"no scan at {path}")
    once: dict[Path, Path] = {}
    for file in files:
        once.setdefault(file.resolve(), file)
    return list(once.values())


def check_names_differ(files: Sequence[Path]) -> None:
    """Check that results which are named after scans have names of their own.

    Raises:
        ValueError: two scans have the same name.
    """
    by_name: dict[str, Path] = {}
    for file in files:
        first = by_name.setdefault(file.stem, file)
        if first != file:
            raise ValueError(
                f"{first} and {file} would have the same results, {file.stem}.json: name another --out for one of them"
            )


def _check_columns(columns: Sequence[str]) -> None:
    missing = [name for name in COORDINATES if name not in columns]
    if missing or len(set(columns)) < len(columns):
        raise ValueError(f"columns must name x, y and z, and each column once, got {' '.join(columns)}")


def _points(path: Path, table: Mapping[str, ndarray], unit_m: float) -> Float32[ndarray, "point 4"]:
    """The four columns that a network takes."""
    missing = [name for name in COORDINATES if name not in table]
    if missing:
        raise ValueError(
            f"{path}: no column {', '.join(missing)} among {', '.join(table) or 'none'}: name all columns in their"
            " order (columns=..., --columns)"
        )
    for name in [name for name in (*COORDINATES, *INTENSITY_NAMES) if name in table]:
        if table[name].dtype.kind not in "fiu":
            raise ValueError(f"{path}: column {name} holds {table[name].dtype.name} values, expected real numbers")
    if not len(table["x"]):
        raise ValueError(f"{path}: the file holds no points: export or copy it again, or remove it")
    intensity = next((table[name] for name in INTENSITY_NAMES if name in table), None)
    if intensity is None:
        warnings.warn(f"{path}: no intensity among the columns {', '.join(table)}: 0 is taken", stacklevel=3)
        intensity = np.zeros_like(table["x"])
    points = np.column_stack([*(table[name] * unit_m for name in COORDINATES), intensity]).astype(np.float32)
    finite = np.isfinite(points[:, :3]).all(axis=1)
    if not finite.any():
        raise ValueError(f"{path}: holds no point with finite coordinates: export it again, or remove it")
    if not finite.all():
        warnings.warn(f"{path}: {np.sum(~finite)} of {len(points)} points are not finite: left out", stacklevel=3)
    points = points[finite]
    without = ~np.isfinite(points[:, 3])
    if without.any():
        points[without, 3] = 0
        warnings.warn(
            f"{path}: {np.sum(without)} of {len(points)} intensities are not finite: 0 is taken", stacklevel=3
        )
    return points


def _read_binary(path: Path, columns: Sequence[str] | None, dtype: str | None) -> dict[str, ndarray]:
    """Read rows of numbers without any header."""
    if dtype not in (None, "float32", "float64"):
        raise ValueError(f"dtype must be float32 or float64, got {dtype!r}")
    content = path.read_bytes()
    types = [np.dtype(name) for name in ("float32", "float64") if dtype in (None, name)]
    counts = [len(columns)] if columns else RECOGNISED_COUNTS
    tables = [
        np.frombuffer(content, dtype=number_type).reshape(-1, count)
        for number_type, count in product(types, counts)
        if len(content) % (count * number_type.itemsize) == 0
    ]
    used: list[int] | slice = slice(None)
    if columns:  # those that nothing reads may hold any numbers, such as times in nanoseconds
        used = [index for index, name in enumerate(columns) if name in (*COORDINATES, *INTENSITY_NAMES)]
    plausible = [table for table in tables if _looks_like_numbers(table[:, used])]
    if not plausible:
        raise ValueError(
            f"{path}: {len(content)} bytes are not rows of {len(columns) if columns else '4 to 6'}"
            f" {dtype or 'float32 or float64'} numbers: the file is cut off, or has other columns: name them"
            " all (columns=..., --columns)"
        )
    table = max(plausible, key=lambda table: _difference_of_columns(table[:, used]))
    return dict(zip(columns or BINARY_COLUMNS[table.shape[1]], table.T, strict=True))


def _looks_like_numbers(table: Float[ndarray, "row column"]) -> bool:
    """Whether a table holds quantities of a scan rather than bytes of another layout read as numbers."""
    with np.errstate(invalid="ignore"):
        size = np.abs(table.astype(np.float64))
        sound = ~np.isfinite(size) | (size == 0) | ((size >= SMALLEST) & (size <= LARGEST))
    return bool(sound.mean() > 0.999)


def _difference_of_columns(table: Float[ndarray, "row column"]) -> float:
    """How much the distributions of the columns differ.

    Rows of the right length have columns of one quantity each. Rows of a wrong length mix all quantities in every
    column, so that the columns are distributed alike.
    """
    finite = table[np.isfinite(table).all(axis=1)].astype(np.float64)
    quantiles = np.quantile(finite, QUANTILES, axis=0) if len(finite) else np.zeros((len(QUANTILES), table.shape[1]))
    return float(quantiles.std(axis=1).mean() / max(float(finite.std()), SMALLEST)) if len(finite) else 0.0


def _named(path: Path, table: dict[str, ndarray] | ndarray, columns: Sequence[str] | None) -> Mapping[str, ndarray]:
    """The columns of a table by their names: those that are given, those of the file, or the usual ones."""
    if isinstance(table, dict):
        own, values = tuple(table), list(table.values())
    elif table.ndim == 2:
        own, values = BINARY_COLUMNS.get(table.shape[1], ()), list(table.T)
    else:
        raise ValueError(f"{path}: expected an array of rows with x, y, z and intensity, got shape {table.shape}")
    names = columns or own
    if len(names) != len(values):
        listed = f" ({', '.join(own)})" if isinstance(table, dict) else ""
        raise ValueError(f"{path}: it has {len(values)} columns{listed}: name them all (columns=..., --columns)")
    return dict(zip(names, values, strict=True))


def _check_count(announced: int, found: int) -> None:
    """Check that the points are as many as the header says; readers take a file without its end as whole."""
    if found != announced:
        raise ValueError(f"the header announces {announced} points, and {found} are there")


def _read_npy(path: Path) -> dict[str, ndarray] | ndarray:
    table: ndarray = np.load(path, allow_pickle=False)
    if table.dtype.names:
        return {name.lower(): table[name].reshape(-1) for name in table.dtype.names}
    return table


def _read_pcd(path: Path) -> dict[str, ndarray]:
    from pypcd4.pypcd4 import PointCloud

    cloud = PointCloud.from_fileobj(BufferedReader(BytesIO(_as_pypcd4_takes(path.read_bytes()))))
    rows = np.atleast_1d(cloud.pc_data)  # of a text file with one point it is no row, but a record
    _check_count(cloud.points, len(rows))
    return {name.lower(): rows[name] for name in cloud.fields}


def _as_pypcd4_takes(content: bytes) -> bytes:
    """A PCD file without VERSION, with COUNT, and in text with single blanks.

    pypcd4 refuses versions before 0.7, whose points are stored alike, and files without COUNT, which is optional: the
    fields are single values then.
    """
    data = re.search(rb"^DATA[ \t]+(\w+).*\n?", content, re.MULTILINE)
    header = re.sub(rb"^VERSION.*\n", b"", content[: data.start()], flags=re.MULTILINE) if data else b""
    fields = re.search(rb"^FIELDS[ \t].*", header, re.MULTILINE)
    if data is None or fields is None:
        raise ValueError("there is no header")
    if not re.search(rb"^COUNT[ \t]", header, re.MULTILINE):
        header += b"COUNT" + b" 1" * (len(fields[0].split()) - 1) + b"\n"
    body = content[data.end() :]
    if data[1] == b"ascii":
        body = b"\n".join(b" ".join(line.split()) for line in body.splitlines())
    return header + data[0] + body


def _read_ply(path: Path) -> dict[str, ndarray]:
    from plyfile import PlyData

    content = PlyData.read(path)
    if "vertex" not in content:
        raise ValueError("there is no element 'vertex'")
    vertices = content["vertex"].data
    # CloudCompare writes scalar fields with this prefix.
    return {name.lower().removeprefix("scalar_"): vertices[name] for name in vertices.dtype.names}


def _read_las(path: Path) -> dict[str, ndarray]:
    import laspy

    cloud = laspy.read(path)
    _check_count(cloud.header.point_count, len(cloud.points))
    return {name: np.asarray(getattr(cloud, name), dtype=np.float64) for name in (*COORDINATES, "intensity")}


def _read_csv(path: Path) -> dict[str, ndarray] | ndarray:
    lines = [line for line in read_lines(path) if line.strip()]
    if not lines:
        return np.zeros((0, 4))
    separator = next((mark for mark in (",", ";", "\t") if mark in lines[0]), None)
    first = [word.strip(" \"'").lower() for word in lines[0].split(separator)]
    has_header = not any(map(_is_number, first))
    rows = lines[has_header:]
    table = np.loadtxt(rows, delimiter=separator, ndmin=2) if rows else np.zeros((0, len(first)))
    return dict(zip(first, table.T, strict=True)) if has_header else table


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


_READERS: Final[dict[str, Callable[[Path], dict[str, ndarray] | ndarray]]] = {
    ".npy": _read_npy,
    ".pcd": _read_pcd,
    ".ply": _read_ply,
    ".las": _read_las,
    ".laz": _read_las,
    ".csv": _read_csv,
}
SUFFIXES: Final = (".bin", *_READERS)
