"""Weights that come with the package: for each model ``NAME.safetensors`` and its card ``NAME.json``."""

import json
from dataclasses import dataclass
from pathlib import Path

from lidar_rank.config_files import config_folder

FOLDER = Path(__file__).parent


@dataclass(frozen=True)
class ShippedModel:
    """A trained model of the package.

    Attributes:
        name: What commands call it.
        config: Path of its config below the folder of configs.
        loss: The loss that it was trained with.
        classes: What it finds.
        training: The data that it was trained on and for how long, in words.
        command: What trained it.
        commit: Of the code that trained it.
        ap_percent: Average precision by what it was measured on.
        limits: What not to expect of it.
    """

    name: str
    config: str
    loss: str | None
    classes: tuple[str, ...]
    training: str
    command: str
    commit: str
    ap_percent: dict[str, float]
    limits: str

    @property
    def weights(self) -> Path:
        """File of the weights."""
        return FOLDER / f"{self.name}.safetensors"


def shipped_models() -> dict[str, ShippedModel]:
    """Models of the package by their names."""
    cards = {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in sorted(FOLDER.glob("*.json"))}
    return {
        name: ShippedModel(name=name, **{**card, "classes": tuple(card["classes"])}) for name, card in cards.items()
    }


def find_shipped(name: str) -> ShippedModel:
    """Find a model of the package by its name.

    Raises:
        ValueError: there is none; the message names those that there are.
    """
    shipped = shipped_models()
    if name not in shipped:
        raise ValueError(f"no model {name!r} comes with the package, which has {', '.join(shipped) or 'none'}")
    return shipped[name]


def find_model(
    model: str | Path, checkpoint: str | Path | None = None, loss: str | None = None
) -> tuple[str, Path, str | None]:
    """Find config, weights and loss of a model.

    Args:
        model: Name of a shipped model, or path of the config of ``checkpoint``.
        checkpoint: Weights that were trained with the config; None for those of a shipped model.
        loss: That ``checkpoint`` was trained with.

    Returns:
        Path of the config, path of the weights, name of the loss.

    Raises:
        ValueError: no checkpoint is given, and the package has no model of this name.
    """
    if checkpoint is not None:
        return str(model), Path(checkpoint), loss
    try:
        found = find_shipped(str(model))
    except ValueError as error:
        raise ValueError(f"{error}; a config needs the weights that were trained with it (--checkpoint FILE)") from None
    return str(config_folder() / found.config), found.weights, found.loss


def format_models() -> str:
    """Return a table for people: each model, what it finds and how well."""
    lines = []
    for model in shipped_models().values():
        megabytes = model.weights.stat().st_size / 1e6
        lines.append(f"{model.name}  ({', '.join(model.classes)}; {megabytes:.1f} MB)")
        lines.append(f"  config    {model.config}" + (f" --loss {model.loss}" if model.loss else ""))
        lines.append(f"  training  {model.training}")
        lines += [f"  AP        {value:5.1f}  {what}" for what, value in model.ap_percent.items()]
        lines.append(f"  limits    {model.limits}")
    return "\n".join(lines)
