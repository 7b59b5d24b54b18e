"""KITTI-format roots for tests: a made one of random points, and a working copy of the real one."""

from pathlib import Path

import numpy as np

IMAGE_SIZE = (1200, 360)
CALIBRATION = """\
P0: 700 0 600 0 0 700 180 0 0 0 1 0
P1: 700 0 600 -380 0 700 180 0 0 0 1 0
P2: 700 0 600 45 0 700 180 -0.3 0 0 1 0.005
P3: 700 0 600 -330 0 700 180 2.3 0 0 1 0.003
R0_rect: 1 0 0 0 1 0 0 0 1
Tr_velo_to_cam: 0 -1 0 0 0 0 -1 -0.08 1 0 0 -0.27
"""
CAR = "Car 0.00 0 -1.57 500.00 150.00 700.00 300.00 1.50 1.60 3.90 0.00 1.00 9.73 -1.57"
FAR_CAR = "Car 0.40 2 -1.57 590.00 170.00 620.00 196.00 1.50 1.60 3.90 2.00 1.00 39.73 1.57"
VAN = "Van 0.20 1 0.00 100.00 150.00 300.00 190.00 2.20 1.90 5.00 -4.00 1.00 19.73 0.30"
DONT_CARE = "DontCare -1 -1 -10 800.00 160.00 825.00 184.00 -1 -1 -1 -1000 -1000 -1000 -10"
LABELS = {
    "000000": [CAR, FAR_CAR, DONT_CARE],
    "000001": [],
    "000002": [DONT_CARE, VAN, CAR],
    "000003": [DONT_CARE],
}
SPLITS = {"train": ["000000", "000001", "000002"], "val": ["000003"]}


def make_root(root: Path, *, images: bool = False) -> Path:
    """Four frames, three of them for training; 1,000 points around the objects and behind the car."""
    rng = np.random.default_rng(0)
    for name, lines in LABELS.items():
        points = rng.uniform((-10, -5, -2, 0), (40, 5, 1, 1), (1000, 4)).astype(np.float32)
        write_frame(root / "training", name, points, images=images)
        write(root / "training" / "label_2" / f"{name}.txt", "".join(f"{line}\n" for line in lines))
    for split, names in SPLITS.items():
        write(root / "ImageSets" / f"{split}.txt", "".join(f"{name}\n" for name in names))
    return root


def add_test_split(root: Path) -> None:
    """One testing frame, named as a training frame is."""
    points = np.random.default_rng(1).uniform((0, -5, -2, 0), (40, 5, 1, 1), (500, 4)).astype(np.float32)
    write_frame(root / "testing", "000000", points)
    write(root / "ImageSets" / "test.txt", "000000\n")


def write_frame(folder: Path, name: str, points: np.ndarray, *, images: bool = False) -> None:
    """The files of one frame except its labels."""
    write(folder / "velodyne" / f"{name}.bin", points.tobytes())
    write(folder / "calib" / f"{name}.txt", CALIBRATION)
    if images:
        write(folder / "image_2" / f"{name}.png", png_header(*IMAGE_SIZE))


def png_header(width_px: int, height_px: int) -> bytes:
    """The first bytes of a PNG file."""
    return b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR" + width_px.to_bytes(4, "big") + height_px.to_bytes(4, "big")


def write(path: Path, content: str | bytes) -> None:
    """Write a file, and the folders above it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)


def link_real_root(source: Path, root: Path) -> Path:
    """A root of the real frames to write into: its folders of inputs are links."""
    (root / "training").mkdir(parents=True)
    for folder in ("velodyne", "image_2", "label_2", "calib"):
        (root / "training" / folder).symlink_to(source / "training" / folder)
    (root / "ImageSets").symlink_to(source / "ImageSets")
    return root


def outputs(root: Path) -> dict[str, bytes]:
    """All files that preparation has written, its journal left out."""
    inputs = {"velodyne", "calib", "label_2", "image_2", "ImageSets"}
    return {
        str(path.relative_to(root)): path.read_bytes()
        for path in sorted(root.rglob("*"))
        if path.is_file() and path.parent.name not in inputs and path.name != "kitti_preparation.jsonl"
    }
