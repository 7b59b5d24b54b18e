"""What commands and training share without the host: checks of their arguments, and the error of a run that stopped.

Importing the host takes seconds, so what can be checked without it is checked before.
"""

import os
from pathlib import Path


class TrainingError(RuntimeError):
    """A training ended by an error after its first step; ``__cause__`` is that error."""


def check_checkpoint(checkpoint: Path | str) -> None:
    """Check that there is a checkpoint.

    Raises:
        FileNotFoundError: there is no such file.
    """
    if not Path(checkpoint).is_file():
        raise FileNotFoundError(f"no checkpoint at {checkpoint}")


def check_output_folder(folder: Path | str) -> None:
    """Check that a folder exists and can be written to, or can be made.

    Raises:
        NotADirectoryError: it, or one of its parents, is a file.
        PermissionError: it, or the parent to make it in, cannot be written to.
    """
    path = Path(folder).absolute()
    existing = next(part for part in (path, *path.parents) if part.exists())
    if not existing.is_dir():
        raise NotADirectoryError(f"cannot write into the folder {folder}: {existing} is a file, name another folder")
    if not os.access(existing, os.W_OK | os.X_OK):
        raise PermissionError(f"cannot write into the folder {folder}: no permission to write in {existing}")


def check_output_file(file: Path | str) -> None:
    """Check that a file can be written, and make its folder.

    Raises:
        IsADirectoryError: it is a folder.
        NotADirectoryError: one of its parents is a file.
        PermissionError: its folder cannot be written to.
    """
    if Path(file).is_dir():
        raise IsADirectoryError(f"{file} is a folder, name a file in it")
    check_output_folder(Path(file).parent)
    Path(file).parent.mkdir(parents=True, exist_ok=True)


def check_counts(at_least: int = 1, **counts: int) -> None:
    """Check that each number is at least ``at_least``.

    Raises:
        ValueError: one is smaller; the message names it.
    """
    for name, count in counts.items():
        if count < at_least:
            raise ValueError(f"{name} must be at least {at_least}, got {count}")
