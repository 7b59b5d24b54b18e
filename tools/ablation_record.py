"""What the runs of a study measured, in one file beside its page, from which a fresh clone goes on."""

import argparse
import json
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lidar_rank.kitti.files import write_atomically

if TYPE_CHECKING:
    from tools.ablation import Run


def restore(runs: Iterable["Run"], options: argparse.Namespace) -> None:
    """Give each run that was never begun here what was recorded of it with the same settings.

    Args:
        runs: Of a study.
        options: The command line of tools/ablation.py.
    """
    recorded = _read(options.page)
    for run in runs:
        entry = recorded.get(_name(run, options))
        if entry and entry["settings"] == run.settings and not run.folder.exists():
            run.folder.mkdir(parents=True)
            for name, content in (("result", entry["result"]), ("run", run.settings)):
                write_atomically(run.folder / f"{name}.json", (json.dumps(content, indent=2) + "\n").encode())


def keep(runs: Iterable["Run"], options: argparse.Namespace) -> None:
    """Add what runs measured to the record of a page; what it has of others, such as of further seeds, stays.

    Args:
        runs: Of a study; those that are not done are left out.
        options: The command line of tools/ablation.py.
    """
    recorded = _read(options.page)
    for run in runs:
        if result := run.result():
            recorded[_name(run, options)] = {"settings": run.settings, "result": result}
    lines = [f"{json.dumps(name)}: {json.dumps(entry)}" for name, entry in sorted(recorded.items())]
    path = _path(options.page)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, ("{\n" + ",\n".join(lines) + "\n}\n").encode())


def _read(page: Path) -> dict[str, dict[str, Any]]:
    recorded: dict[str, dict[str, Any]] = json.loads(_path(page).read_text()) if _path(page).exists() else {}
    return recorded


def _path(page: Path) -> Path:
    return page.with_suffix(".json")


def _name(run: "Run", options: argparse.Namespace) -> str:
    return run.folder.relative_to(options.out).as_posix()
