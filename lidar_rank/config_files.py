"""Where configs lie, which losses they take, and what they compute from those that they inherit.

All without the host, whose import takes seconds. A config inherits values from its bases but no functions, so that the
functions that several configs call are here.
"""

import ast
from collections.abc import Collection, Sequence
from copy import copy
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Final

LOSS_PREFIX: Final = "loss_"
CONFIG_SUFFIXES: Final = (".py", ".json", ".yaml", ".yml")


def config_folder() -> Path:
    """The folder of the project's configs: within the package if that was installed from a wheel, else beside it."""
    packaged = Path(__file__).parent / "configs"
    return packaged if packaged.is_dir() else Path(__file__).parents[1] / "configs"


def find_config(path: str | Path) -> Path:
    """The file of a config.

    Args:
        path: Of a file, or the bare name of one of the project's configs, such as ``second_kitti-car_small``.

    Raises:
        FileNotFoundError: there is none.
        ValueError: the file is not of a type that mmengine reads as a config.
    """
    if not Path(path).is_file():
        named = {file.stem: file for file in config_folder().glob("[!_]*/*.py")}
        if str(path) in named:
            return named[str(path)]
        similar = get_close_matches(Path(path).stem, named, n=3, cutoff=0) or ["second_kitti-car_small"]
        raise FileNotFoundError(
            f"no config at {path}: name a file, or one of those in {config_folder()}, e.g. {', '.join(similar)}"
        )
    if Path(path).suffix not in CONFIG_SUFFIXES:
        raise ValueError(f"{path} is no config: its name must end in {', '.join(CONFIG_SUFFIXES)}")
    return Path(path)


def loss_name(variable: str) -> str:
    """The name that ``--loss`` takes, ``focal-rankdet-iou``, of a config's variable ``loss_focal_rankdet_iou``."""
    return variable.removeprefix(LOSS_PREFIX).replace("_", "-")


def parts_of_loss(loss: str) -> list[str]:
    """The names in what ``--loss`` takes: one, or several with plus signs between them, as in ``rankdet+box-iou``."""
    return loss.split("+")


def check_loss(path: str | Path, loss: str, losses: Collection[str]) -> None:
    """Refuse a loss that a config does not take.

    Raises:
        ValueError: a part of ``loss`` is not among ``losses``, those that it takes.
    """
    for name in parts_of_loss(loss):
        if name not in losses:
            takes = f"it takes {', '.join(sorted(losses))}" if losses else "it takes none, as it inherits none"
            raise ValueError(f"{path} does not take the loss {name!r}: {takes}")


def check_before_import(path: str | Path, loss: str | None) -> None:
    """Check a config's path and the name of a loss without the host.

    A name is refused only where the text of the config and of its bases shows every loss;
    :func:`lidar_rank.mm.configs.load_config` decides the rest.

    Raises:
        FileNotFoundError: there is no such config.
        ValueError: the config does not take the loss.
    """
    losses = losses_in_text(find_config(path))
    if loss is not None and losses is not None:
        check_loss(path, loss, losses)


def losses_in_text(path: Path) -> set[str] | None:
    """Names of the losses that a config and its bases define; None where their text does not show it."""
    if path.suffix != ".py":
        return None
    try:
        tree = ast.parse(path.read_text(encoding="utf-8"))
        names = [node for node in ast.walk(tree) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)]
        found = {loss_name(node.id) for node in names if node.id.startswith(LOSS_PREFIX)}
        for base in _bases(tree):
            if not base.startswith(("mmdet::", "mmdet3d::")):  # the hosts' configs define no such losses
                inherited = losses_in_text(path.parent / base)
                if inherited is None:
                    return None
                found |= inherited
    except (OSError, ValueError, SyntaxError):
        return None
    return found


def _bases(tree: ast.Module) -> list[str]:
    for node in tree.body:
        if isinstance(node, ast.Assign) and [ast.unparse(target) for target in node.targets] == ["_base_"]:
            bases = ast.literal_eval(node.value)
            return [bases] if isinstance(bases, str) else list(bases)
    return []


def within_range(pipeline: Sequence[Any], point_cloud_range: Sequence[float]) -> list[Any]:
    """A copy of a pipeline in which every step that drops points or objects keeps those in a range.

    Args:
        pipeline: Steps of a data pipeline, which may hold steps themselves (``transforms``).
        point_cloud_range: x, y, z minimum, then x, y, z maximum, in metres.
    """
    steps = [copy(step) for step in pipeline]
    for step in steps:
        if "point_cloud_range" in step:
            step["point_cloud_range"] = list(point_cloud_range)
        if "transforms" in step:
            step["transforms"] = within_range(step["transforms"], point_cloud_range)
    return steps


def mild(train_pipeline: Sequence[Any]) -> list[Any]:
    """A copy of a training pipeline that leaves objects in their places and turns scans by at most 0.25 rad.

    Wide turns bring ground into a small range that the scanner did not see; short trainings learn more without them.
    """
    return [
        {**step, "rot_range": [-0.25, 0.25]} if step["type"] == "GlobalRotScaleTrans" else step
        for step in train_pipeline
        if step["type"] != "ObjectNoise"
    ]


def on_own_scans(base: Any, point_cloud_range: Sequence[float], train_pipeline: Sequence[Any]) -> dict[str, Any]:
    """Settings that put a detector with anchors on labelled scans of one's own.

    Args:
        base: ``_base_`` of a config that inherits a detector and ``configs/_base_/data/own_scans.py``.
        point_cloud_range: What the detector sees: x, y, z minimum, then x, y, z maximum, in metres.
        train_pipeline: Steps that load and augment a training scan.

    Returns:
        The top-level settings of the config by name: of ``model`` what depends on the classes, the pipelines, data
        loaders and evaluators, and which checkpoint is the best.
    """
    x_min, y_min, _, x_max, y_max, _ = point_cloud_range
    head = {
        "num_classes": len(base.own_classes),
        "anchor_generator": {
            "ranges": [[x_min, y_min, bottom_m, x_max, y_max, bottom_m] for bottom_m in base.own_bottoms_m],
            "sizes": base.own_sizes,
            "reshape_out": False,
        },
    }
    train_steps = within_range(train_pipeline, point_cloud_range)
    for step in train_steps:
        if step["type"] == "ObjectSample":
            step["db_sampler"] = {**step["db_sampler"], **base.own_samples}
    test_steps = within_range(base.test_pipeline, point_cloud_range)
    test_loader = {"dataset": {**base.own_dataset, "pipeline": test_steps}}
    evaluator = {**base.own_ap, "point_cloud_range": list(point_cloud_range)}
    return {
        "model": {"bbox_head": head, "train_cfg": {"assigner": base.own_assigners}},
        "train_pipeline": train_steps,
        "test_pipeline": test_steps,
        "train_dataloader": {"dataset": {"dataset": {**base.own_dataset, "pipeline": train_steps}}},
        "val_dataloader": test_loader,
        "test_dataloader": test_loader,
        "val_evaluator": evaluator,
        "test_evaluator": evaluator,
        "default_hooks": {"checkpoint": {"save_best": base.own_best}},
    }
