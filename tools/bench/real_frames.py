"""Pack the frames of a prepared KITTI root small enough to travel to another machine, and unpack them there.

    python tools/bench/real_frames.py pack data/kitti real_frames.tar.xz
    python tools/bench/real_frames.py unpack real_frames.tar.xz FOLDER

All frames of the splits train and val travel, as the split val, with what a test needs: reduced clouds, labels,
calibrations and infos. Coordinates are rounded to 2.5 mm (the scanner is accurate to 2 cm), and intensities to 0.01, in
which KITTI stores them: 83 frames take 4.6 MB. Please mind KITTI's licence (CC BY-NC-SA 3.0) when you copy them.
"""

import argparse
import io
import pickle
import tarfile
from pathlib import Path
from typing import Final

import numpy as np

STEP_M: Final = 0.0025
STEP_INTENSITY: Final = 0.01


def pack(root: Path, archive: Path) -> None:
    """Write the frames of ``root``, which ``lidar-rank create-data`` prepared, to ``archive``.

    Raises:
        FileNotFoundError: the root has no infos or no reduced clouds.
        ValueError: a point is farther than 81.9 m away on one axis.
    """
    infos = pickle.loads((root / "kitti_infos_trainval.pkl").read_bytes())
    archive.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(archive, "w:xz", preset=9) as tar:
        tar.add(root / "kitti_infos_trainval.pkl", "kitti_infos_val.pkl")
        for info in infos["data_list"]:
            name = Path(info["lidar_points"]["lidar_path"]).stem
            for folder in ("label_2", "calib"):
                tar.add(root / "training" / folder / f"{name}.txt", f"training/{folder}/{name}.txt")
            points = np.fromfile(root / "training" / "velodyne_reduced" / f"{name}.bin", np.float32).reshape(-1, 4)
            _add_bytes(tar, f"training/velodyne_reduced/{name}.bin", _encode(points, name))


def unpack(archive: Path, root: Path) -> None:
    """Make a root out of what :func:`pack` wrote: ``kitti_infos_val.pkl`` and what it names."""
    with tarfile.open(archive, "r:xz") as tar:
        tar.extractall(root, filter="data")
    for cloud in (root / "training" / "velodyne_reduced").glob("*.bin"):
        cloud.write_bytes(_decode(cloud.read_bytes()).tobytes())


def _encode(points: np.ndarray, name: str) -> bytes:
    """Column after column, and within a column the steps from one point to the next, which are small."""
    ticks = np.round(points[:, :3] / STEP_M)
    if abs(ticks).max(initial=0) > np.iinfo(np.int16).max:
        raise ValueError(f"frame {name} has points beyond {np.iinfo(np.int16).max * STEP_M:.1f} m, which do not fit")
    change = np.diff(ticks.astype(np.int16), axis=0, prepend=np.int16(0))  # wraps around, and back in _decode
    return change.T.tobytes() + np.round(points[:, 3] / STEP_INTENSITY).astype(np.uint8).tobytes()


def _decode(packed: bytes) -> np.ndarray:
    num = len(packed) // 7
    change = np.frombuffer(packed, np.int16, 3 * num).reshape(3, num)
    points = np.empty((num, 4), np.float32)
    points[:, :3] = np.cumsum(change, axis=1, dtype=np.int16).T * np.float32(STEP_M)
    points[:, 3] = np.frombuffer(packed, np.uint8, num, offset=6 * num) * np.float32(STEP_INTENSITY)
    return points


def _add_bytes(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size = len(content)
    tar.addfile(member, io.BytesIO(content))


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("command", choices=["pack", "unpack"])
    parser.add_argument("source", type=Path)
    parser.add_argument("target", type=Path)
    args = parser.parse_args()
    {"pack": pack, "unpack": unpack}[args.command](args.source, args.target)


if __name__ == "__main__":
    main()
