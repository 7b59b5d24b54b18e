"""Checks of checkpoint files before a run uses them."""

import zipfile
from pathlib import Path

import torch
from mmengine.config import Config

from lidar_rank.kitti.files import read_lines


def check_checkpoints(cfg: Config) -> None:
    """Check the checkpoints that a run of ``cfg`` would start from: ``load_from``, and the newest of a resumed run.

    Raises:
        ValueError: a checkpoint is damaged, or is not one; the message names the file.
    """
    paths = [cfg.get("load_from") or ""]
    newest = Path(cfg.work_dir, "last_checkpoint")
    if cfg.get("resume") and newest.is_file():
        paths += read_lines(newest)
    for path in map(Path, paths):
        if path.is_file():
            check_is_whole(path)


def check_is_whole(path: Path) -> None:
    """Check that torch can load a checkpoint, and that its bytes are those that were saved.

    torch does not compare the checksums that it writes: a changed byte inside a tensor is loaded as another weight.

    Raises:
        ValueError: the file is damaged, cannot be read, or is not a checkpoint; the message names it.
    """
    try:
        if zipfile.is_zipfile(path):
            _compare_checksums(path)
        checkpoint = torch.load(path, map_location="cpu")
    except Exception as error:  # a damaged file raises errors of almost any type
        reason = f"{type(error).__name__}: {error}".splitlines()[0]
        raise ValueError(f"{path} is damaged, or not a checkpoint ({reason}): use another, or copy it again") from error
    if not isinstance(checkpoint, dict):
        raise ValueError(f"{path} holds a {type(checkpoint).__name__}, not the dictionary of a checkpoint")


def _compare_checksums(path: Path) -> None:
    with zipfile.ZipFile(path) as archive:
        # With torch.serialization.set_crc32_options(False) all checksums are 0.
        if any(entry.CRC for entry in archive.infolist()):
            changed = archive.testzip()
            if changed:
                raise ValueError(f"the checksum of {changed} differs")
