"""Configs with a loss put in.

A config says which losses it takes: each is a top-level variable ``loss_NAME`` that holds the settings of the loss, as
they would stand in a config: ``model``, and where the loss needs them ``custom_hooks``, ``optim_wrapper`` and so on.
``configs/_base_/losses/`` has one file per paper; the config of a detector inherits those that fit it, and changes what
this detector needs otherwise.
"""

import ast
import difflib
import inspect
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config, ConfigDict
from mmengine.runner import Runner

from lidar_rank.config_files import LOSS_PREFIX, check_loss, find_config, loss_name, parts_of_loss
from lidar_rank.mm.registry import HOOKS

# What a runner reads of a config. Its other variables are what these are made from.
_READ = (
    *(name for name in inspect.signature(Runner.__init__).parameters if name not in ("self", "cfg")),
    *("auto_scale_lr", "activation_checkpointing", "compile", "efficient_conv_bn_eval", "find_unused_parameters"),
    *("model_wrapper_cfg", "sync_bn"),
)


def load_config(path: str, loss: str | None = None, options: dict | None = None) -> Config:
    """Read a config, put a loss in, then set options.

    The settings of the loss are merged into the config as those of a config that inherits from it, and its hooks are
    added to the config's. The settings of the other losses are left out of what is returned. ``work_dir`` is that of
    the config, else ``work_dirs/<config name>``, followed by ``_<loss>``.

    Args:
        path: Of an mmengine config.
        loss: Name of one of the losses that the config takes, such as ``"dr"``, or of several that set different parts,
            such as ``"rankdet+box-iou"``; None keeps the config's own.
        options: Settings that replace those of the config, keys with dots.

    Raises:
        FileNotFoundError: there is no such config.
        ValueError: the config does not take this loss, whereupon the message names those that it takes; two of the
            losses set the same part; or an option would change nothing.
    """
    cfg = _read(find_config(path))
    losses, variables = losses_of(cfg), list(cfg)
    if loss is not None:
        check_loss(path, loss, losses)
    for key in [key for key in cfg if _is_loss(key, cfg[key])]:
        cfg.pop(key)
    cfg.work_dir = cfg.get("work_dir") or str(Path("work_dirs") / Path(path).stem)
    if loss is not None:
        names = parts_of_loss(loss)
        _check_apart([(name, losses[name].model) for name in names])
        for name in names:
            settings = losses[name]
            if "custom_hooks" in settings:
                settings.custom_hooks = [*cfg.get("custom_hooks", []), *settings.custom_hooks]
            cfg.merge_from_dict(settings)
        cfg.work_dir += f"_{loss}"
    for key in options or {}:
        _check_option(key, cfg, variables)
    _check_rate(options or {}, cfg)
    cfg.merge_from_dict(options or {})
    return cfg


def _check_option(key: str, cfg: Config, variables: Sequence[str]) -> None:
    """Refuse an option that a training would leave without effect.

    Args:
        key: Of the option.
        cfg: The config that it changes.
        variables: Names at the top of the file, losses included.
    """
    first, *places = key.split(".")
    if first not in _READ and first in variables:
        raise ValueError(
            f"--cfg-options {key}= has no effect: other settings were made from {first} when the config was read."
            " Set those, such as model.bbox_head.loss_cls.loss_weight or train_cfg.max_epochs"
        )
    if first not in _READ:
        near = difflib.get_close_matches(first, _READ, n=1)
        hint = f"; did you mean {near[0]}?" if near else f", it has {', '.join(name for name in _READ if name in cfg)}"
        raise ValueError(f"--cfg-options {key}=: a config has no setting {first}{hint}")
    part = cfg.get(first)
    for place in places:  # what is built refuses names that it does not know, but test_cfg is read name by name
        if isinstance(part, list) and place.isdigit():
            if int(place) >= len(part):
                raise ValueError(f"--cfg-options {key}=: there is no {place}, the list has 0 to {len(part) - 1}")
            part = part[int(place)]
        elif not isinstance(part, dict):
            return
        elif place in part:
            part = part[place]
        else:
            if near := difflib.get_close_matches(place, part, n=1, cutoff=0.85):
                raise ValueError(f"--cfg-options {key}=: there is no {place}; did you mean {near[0]}?")
            return


def _check_rate(options: dict, cfg: Config) -> None:
    """Refuse a learning rate that the schedule would replace with its own."""
    rate, schedules = "optim_wrapper.optimizer.lr", cfg.get("param_scheduler") or []
    if rate not in options or any(key.startswith("param_scheduler") for key in options):
        return
    named = {"": schedules} if isinstance(schedules, dict) else {f".{i}": one for i, one in enumerate(schedules)}
    for place, schedule in named.items():
        if schedule.get("type") == "OneCycleLR":
            raise ValueError(
                f"--cfg-options {rate}= has no effect: OneCycleLR sets the rate. Set its highest one,"
                f" param_scheduler{place}.eta_max, which is {schedule.eta_max}"
            )


def training_settings(checkpoint: Path, cfg: Config) -> dict[str, str]:
    """Settings that a checkpoint was trained with, which mmengine saves in it; those of ``cfg`` for weights alone."""
    saved = {} if checkpoint.suffix == ".safetensors" else torch.load(checkpoint, map_location="cpu")
    text = (saved.get("meta") or {}).get("cfg")
    return flat_settings(text if isinstance(text, str) else cfg.pretty_text)


def flat_settings(text: str) -> dict[str, str]:
    """Every setting in the text of a config, by its place, such as ``model.bbox_head.loss_cls.type``.

    Nothing is executed, because the text may come from a checkpoint of somebody else.

    Args:
        text: As mmengine writes configs, with all bases filled in.
    """
    try:
        statements = ast.parse(text).body
    except SyntaxError:
        return {}
    assignments = [statement for statement in statements if isinstance(statement, ast.Assign)]
    return {
        place: value
        for assigned in assignments
        for place, value in _leaves(assigned.value, ast.unparse(assigned.targets[0]))
    }


def _leaves(node: ast.expr, place: str) -> Iterator[tuple[str, str]]:
    """Place and text of every value below a node, through ``dict(...)``, ``{...}`` and lists of such."""
    if isinstance(node, ast.Call) and node.keywords:
        for keyword in node.keywords:
            yield from _leaves(keyword.value, f"{place}.{keyword.arg}" if keyword.arg else place)
    elif isinstance(node, ast.Dict) and node.keys:
        for key, value in zip(node.keys, node.values, strict=True):
            name = key.value if isinstance(key, ast.Constant) else key and ast.unparse(key)
            yield from _leaves(value, f"{place}.{name}")
    elif isinstance(node, ast.List | ast.Tuple) and any(isinstance(part, ast.Call | ast.Dict) for part in node.elts):
        for index, part in enumerate(node.elts):
            yield from _leaves(part, f"{place}[{index}]")
    else:
        yield place, ast.unparse(node)


def _check_apart(models: Sequence[tuple[str, ConfigDict]]) -> None:
    """Refuse losses, by name with their settings of the model, of which two set the same value."""
    setters: dict[str, str] = {}
    for loss, model in models:
        places = list(_places(model, "model"))
        for place in places:
            if place in setters:
                raise ValueError(
                    f"the losses {setters[place]} and {loss} both set {place}: join losses of different parts, such as"
                    " one of the scores, one of the boxes and iou-branch"
                )
        setters.update(dict.fromkeys(places, loss))


def _places(settings: dict, name: str) -> Iterator[str]:
    """The dotted key of each value below a dict of settings."""
    for key, value in settings.items():
        if isinstance(value, dict):
            yield from _places(value, f"{name}.{key}")
        elif key != "_delete_":
            yield f"{name}.{key}"


def losses_of(cfg: Config) -> dict[str, ConfigDict]:
    """The settings of every loss that a config takes, by the name of the loss."""
    return {loss_name(key): cfg[key] for key in cfg if _is_loss(key, cfg[key])}


def _is_loss(key: str, value: Any) -> bool:
    return key.startswith(LOSS_PREFIX) and isinstance(value, dict) and "model" in value


def _read(path: Path) -> Config:
    try:
        return Config.fromfile(path)
    except KeyError as error:
        if "Duplicate key" not in str(error) or LOSS_PREFIX not in str(error):
            raise
        raise ValueError(
            f"{path}: two of its bases define the same loss ({error.args[0]}). The config of a detector inherits the"
            f" losses that it takes: leave the file of the loss out and write 'model = _base_.{LOSS_PREFIX}NAME.model'"
        ) from error


def check_warm_up(cfg: Config) -> None:
    """Refuse to train a ``BlendLoss`` that no hook moves: all of the training would be its start.

    Raises:
        ValueError: the model has a ``lidar_rank.BlendLoss``, and no custom hook is a ``lidar_rank.WarmUpHook``.
    """
    blends = [name for name, kind in _types(cfg.model, "model") if kind.rpartition(".")[2] == "BlendLoss"]
    if blends and not any(_is_warm_up(hook) for hook in cfg.get("custom_hooks", [])):
        raise ValueError(
            f"{blends[0]} is a lidar_rank.BlendLoss that no hook moves from its start to its end: add"
            " dict(type='lidar_rank.WarmUpHook') to custom_hooks"
        )


def _types(config: Any, name: str) -> Iterator[tuple[str, str]]:
    """Place and type of every part of a model's config."""
    if isinstance(config, list | tuple):
        for index, part in enumerate(config):
            yield from _types(part, f"{name}[{index}]")
    elif isinstance(config, dict):
        yield name, str(config.get("type"))
        for key, part in config.items():
            yield from _types(part, f"{name}.{key}")


def _is_warm_up(hook: Any) -> bool:
    from lidar_rank.mm.hooks import WarmUpHook  # loads mmdet3d, which reading a config does without

    kind = hook.get("type") if isinstance(hook, dict) else type(hook)
    kind = HOOKS.get(kind) if isinstance(kind, str) else kind
    return isinstance(kind, type) and issubclass(kind, WarmUpHook)
