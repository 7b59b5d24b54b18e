"""Checks of checkpoint files before a run uses them."""

import zipfile
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from mmengine.config import Config
from mmengine.runner.checkpoint import CheckpointLoader

from lidar_rank.kitti.files import read_lines
from lidar_rank.weights import ShippedModel, find_shipped

SHIPPED = "lidar_rank://"
"""Before the name of a model of the package, in ``load_from`` of a config."""


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


@CheckpointLoader.register_scheme(prefixes=SHIPPED)
def load_shipped(filename: str, map_location: object = None) -> dict:  # noqa: ARG001 - the host's signature
    """Load the weights of a model that comes with the package, for the host.

    Raises:
        ValueError: there is no such model, or its file is damaged.
    """
    return {"state_dict": read_weights(find_shipped(filename.removeprefix(SHIPPED)).weights), "meta": {}}


@CheckpointLoader.register_scheme(prefixes=r".*\.safetensors$")
def load_safetensors(filename: str, map_location: object = None) -> dict:  # noqa: ARG001 - the host's signature
    """Load a ``.safetensors`` file for the host, which would rearrange the weights of sparse convolutions in it.

    Raises:
        ValueError: the file is damaged.
    """
    return {"state_dict": read_weights(Path(filename)), "meta": {}}


def check_start(model: torch.nn.Module, classes: Sequence[str], start: ShippedModel) -> None:
    """Check that a training can start from the weights of a model of the package.

    Args:
        model: The model to train.
        classes: Its classes.
        start: The model to start from.

    Raises:
        ValueError: the numbers of classes or the networks differ.
    """
    if len(classes) != len(start.classes):
        raise ValueError(
            f"the numbers of classes differ: {start.name} has {len(start.classes)} ({', '.join(start.classes)}), and"
            f" this config {len(classes)} ({', '.join(classes)}): start from a model with as many, or without --init"
        )
    try:
        check_fits(model, read_weights(start.weights), start.name, trains=True)
    except ValueError as error:
        raise ValueError(f"{error}: --init {start.name} needs a config on top of {start.config}") from None


def read_weights(path: Path) -> dict[str, torch.Tensor]:
    """Read the weights of a model from a checkpoint (``.pth``) or a ``.safetensors`` file, onto the CPU.

    Raises:
        ValueError: the file is damaged, cannot be read, or is not a checkpoint; the message names it.
    """
    if path.suffix == ".safetensors":
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        try:
            weights = OrderedDict(load_file(path))
        except (SafetensorError, OSError) as error:
            raise ValueError(f"{path} is damaged, or not a safetensors file ({error}): copy it again") from error
        # mmdet3d takes weights of sparse convolutions that do not say the version of their layout for those of
        # spconv 1, and rearranges them.
        weights._metadata = {name.rpartition(".")[0]: {"version": 2} for name in weights}  # type: ignore[attr-defined]
        return weights
    check_is_whole(path)
    checkpoint = torch.load(path, map_location="cpu")
    return checkpoint.get("state_dict", checkpoint)


def write_weights(weights: Mapping[str, torch.Tensor], path: Path) -> None:
    """Write weights as a ``.safetensors`` file in half precision, which rounds less than points are noisy."""
    from safetensors.torch import save_file

    path.parent.mkdir(parents=True, exist_ok=True)
    halved = {name: value.half() if value.is_floating_point() else value for name, value in weights.items()}
    save_file({name: value.contiguous().cpu() for name, value in halved.items()}, path)


def check_is_whole(path: Path) -> None:
    """Check that torch can load a checkpoint, and that its bytes are those that were saved.

    torch does not compare the checksums that it writes: a changed byte inside a tensor is loaded as another weight.

    Raises:
        ValueError: the file is damaged, cannot be read, or is not a checkpoint; the message names it.
    """
    if path.suffix == ".safetensors":
        read_weights(path)
        return
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


def check_fits(model: torch.nn.Module, saved: Mapping[str, object], name: str, *, trains: bool = False) -> None:
    """Check that a checkpoint has all weights of a model, in their shapes, and no others.

    State that only a loss keeps (``loss_cls.*``) may differ, so that a run may start from one with another loss.

    Args:
        model: The model that is to take the weights.
        saved: The weights.
        name: Of the checkpoint, for messages.
        trains: Whether a training starts from them, which may leave out some.

    Raises:
        ValueError: a weight is missing, has another shape, or belongs to a part that the model lacks.
    """
    wanted = {
        key: value
        for key, value in model.state_dict().items()
        if ".loss_" not in key and (trains or not _only_trains(key))
    }
    missing = [key for key in wanted if key not in saved]
    reshaped = [key for key in wanted if key in saved and not _same_shape(saved[key], wanted[key])]
    unknown = [] if trains else [key for key in saved if key not in wanted and not _only_trains(key)]
    if not missing and not reshaped and not unknown:
        return
    key = (missing + reshaped + unknown)[0]
    needs, got = (_shape(weights.get(key)) for weights in (wanted, saved))
    raise ValueError(
        f"checkpoint {name} is not of this config's model:"
        f" {len(missing)} of {len(wanted)} tensors are missing, {len(reshaped)} have another shape,"
        f" {len(unknown)} are of parts that the model lacks; {key} needs {needs}, got {got}."
        " Give the config and the --loss that it was trained with"
    )


def _only_trains(key: str) -> bool:
    """Whether a weight is of what no detection depends on: the state of a loss, SA-SSD's auxiliary network."""
    return ".loss_" in key or key.startswith("auxiliary.")


def _shape(found: object) -> str:
    return f"shape {tuple(found.shape)}" if isinstance(found, torch.Tensor) else "nothing"


def _same_shape(a: object, b: torch.Tensor) -> bool:
    return isinstance(a, torch.Tensor) and a.shape == b.shape
