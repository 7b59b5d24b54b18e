"""Where configs lie and which losses they take, read without the host, whose import takes seconds."""

import ast
from collections.abc import Collection
from difflib import get_close_matches
from pathlib import Path
from typing import Final

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
