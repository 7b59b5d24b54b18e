"""Repairs of the host that the pinned versions need: one function each, with the reason.

``docs/architecture.md`` lists what they change. The environment variable ``LIDAR_RANK_SKIP`` names those to leave out.
"""

import ast
import warnings
from importlib import import_module
from multiprocessing.pool import Pool
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.config import config as mmengine_config
from mmengine.fileio.backends import LocalBackend
from mmengine.logging import HistoryBuffer
from mmengine.optim.scheduler.param_scheduler import OneCycleParamScheduler
from numba.core.dispatcher import Dispatcher

from lidar_rank import sparse
from lidar_rank.kernels.jit import keep_machine_code
from lidar_rank.kitti.files import write_atomically
from lidar_rank.mm.deferred import defer_imports
from lidar_rank.settings import SKIP_VARIABLE, skipped_repairs

# Methods that mmengine's own checkpoints name.
_SAVED_METHODS = {
    HistoryBuffer: ("min", "max", "current", "mean"),
    OneCycleParamScheduler: ("_annealing_cos", "_annealing_linear"),
}


def allow_mmengine_checkpoints() -> None:
    """Let ``torch.load`` read mmengine checkpoints with its weights-only check left on.

    mmengine 0.10.7 stores its loss history, and some schedules their methods, in every checkpoint, and loads them with
    the default of ``torch.load``, which since torch 2.6 refuses types that are not on its list: neither resuming nor
    ``load_from`` works.
    https://github.com/open-mmlab/mmengine/issues/1617
    """
    multiarray = import_module("numpy.core.multiarray" if np.__version__ < "2" else "numpy._core.multiarray")
    dtypes = [type(np.dtype(kind)) for kind in (np.float64, np.float32, np.int64, np.int32, np.bool_)]
    torch.serialization.add_safe_globals(
        [
            *_SAVED_METHODS,
            np.ndarray,
            np.dtype,
            *dtypes,
            # numpy 2 has renamed the module; each version reads the checkpoints of the other.
            *((multiarray._reconstruct, f"numpy.{core}.multiarray._reconstruct") for core in ("core", "_core")),
            *((multiarray.scalar, f"numpy.{core}.multiarray.scalar") for core in ("core", "_core")),
            (_saved_method, "builtins.getattr"),
        ]
    )


def _saved_method(owner: type, name: str) -> Any:
    """Stand in for ``getattr`` while a checkpoint is read, for the methods that mmengine saves and nothing else."""
    if name not in _SAVED_METHODS.get(owner, ()):
        raise ValueError(
            f"a checkpoint may name methods of mmengine's histories and schedules only, got {owner}.{name}"
        )
    return getattr(owner, name)


def write_checkpoints_whole() -> None:
    """Make mmengine write a file under a temporary name, then rename it.

    mmengine 0.10.7 writes checkpoints in place: a run that is killed while it writes, or a full disk, leaves a
    truncated file under the name that ``--resume`` reads.
    """

    def put(self: LocalBackend, obj: bytes, filepath: str | Path) -> None:  # noqa: ARG001 - a method of LocalBackend
        target = Path(filepath)
        target.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(target, obj)

    LocalBackend.put = put


def restore_numpy_long() -> None:
    """Define ``np.long``: mmdet3d 1.4.0's object sampler uses it, and numpy 1.24 to 1.26 do not have it."""
    if "long" not in vars(np):
        np.long = np.int_


def silence_known_warnings() -> None:
    """Hide warnings that the pinned packages give about each other, which a user can do nothing about."""
    for message in (
        "pkg_resources is deprecated",
        "DeprecationWarning: pos_bboxes",
        "torch.meshgrid: in an upcoming release",
        "dir_offset and dir_limit",
    ):
        warnings.filterwarnings("ignore", message=message)


def cache_compiled_augmentation() -> None:
    """Keep the machine code of mmdet3d's augmentation on disk.

    The host's functions compile in 15 s on an idle core. Without a cache every process that loads data compiles them
    again, in every run.
    """
    from mmdet3d.datasets.transforms import data_augment_utils
    from mmdet3d.structures.ops import box_np_ops

    for module in (data_augment_utils, box_np_ops):
        for member in vars(module).values():
            if isinstance(member, Dispatcher):
                keep_machine_code(member)


def end_evaluation_processes() -> None:
    """Wait for the processes of mmdet's VOC evaluation to end before it returns.

    mmdet 3.3.0's ``eval_map`` closes its pool and drops it. If the pool's own thread then holds the last reference to
    it, that thread waits for a lock that an idle process holds: once in some hundred evaluations two processes stay
    until the training ends, with every file and pipe that was open when they were forked.
    """
    from mmdet.evaluation.functional import mean_ap

    mean_ap.Pool = _PoolThatEnds


class _PoolThatEnds(Pool):
    """A pool of processes that have ended when ``close`` returns."""

    def close(self) -> None:
        super().close()
        self.join()


def format_configs_quickly() -> None:
    """Format configs without yapf.

    mmengine formats the config for the log, for the dump and for each visualisation backend: five times 1 to 4 s before
    the first step of a run.
    """
    mmengine_config.FormatCode = lambda text, style_config: (_format_config(text), True)  # noqa: ARG005


def _format_config(text: str) -> str:
    return "".join(f"{_format_statement(statement)}\n" for statement in ast.parse(text).body)


def _format_statement(statement: ast.stmt) -> str:
    if not isinstance(statement, ast.Assign):
        return ast.unparse(statement)
    return f"{ast.unparse(statement.targets[0])} = {_format_value(statement.value)}"


def _format_value(value: ast.expr, indent: int = 0) -> str:
    """A value on one line if that is short, else one line for each of its items."""
    line = ast.unparse(value)
    if indent + len(line) <= 80:
        return line
    parts: list[tuple[str, ast.expr]]
    match value:
        case ast.Call(ast.Name(name), args, keywords):
            begin, end = f"{name}(", ")"
            parts = [("", part) for part in args] + [
                (f"{part.arg}=" if part.arg else "**", part.value) for part in keywords
            ]
        case ast.Dict(keys, values):
            begin, end = "{", "}"
            parts = [(f"{ast.unparse(key)}: " if key else "**", part) for key, part in zip(keys, values, strict=True)]
        case ast.List(items) | ast.Tuple(items):
            begin, end = "[]" if isinstance(value, ast.List) else "()"
            parts = [("", part) for part in items]
        case _:
            return line
    lines = [f"{' ' * (indent + 4)}{name}{_format_value(part, indent + 4)},\n" for name, part in parts]
    return f"{begin}\n{''.join(lines)}{' ' * indent}{end}"


REPAIRS = (
    sparse.provide_to_host,
    silence_known_warnings,
    allow_mmengine_checkpoints,
    write_checkpoints_whole,
    restore_numpy_long,
    cache_compiled_augmentation,
    end_evaluation_processes,
    format_configs_quickly,
)


def apply() -> None:
    """Apply every repair that is not left out; importing ``lidar_rank.mm`` calls this.

    The sparse layers come first, before another repair imports the host's models.

    Raises:
        ValueError: ``LIDAR_RANK_SKIP`` names a repair that does not exist.
    """
    of_backends = (sparse.repair_spconv, sparse.limit_triton_tiles)
    skipped, known = skipped_repairs(), {repair.__name__ for repair in (*of_backends, defer_imports, *REPAIRS)}
    if not skipped <= known:
        raise ValueError(
            f"{SKIP_VARIABLE} names {', '.join(sorted(skipped - known))}; the repairs are {', '.join(sorted(known))}"
        )
    for repair in REPAIRS:
        if repair.__name__ not in skipped:
            repair()
