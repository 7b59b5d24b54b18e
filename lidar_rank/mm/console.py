"""What a run shows on the console: ten lines when it starts, then progress, warnings and tables.

The log file in the work folder has everything that mmengine says besides: the config, the environment, the hooks, and
the line of numbers that repeats each table of KITTI AP.
"""

import logging
import re
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

import torch
from mmengine.hooks import Hook
from mmengine.logging import MMLogger
from mmengine.runner import Runner
from torch import nn

from lidar_rank import __version__
from lidar_rank.mm.ops import OwnOperators

# One of the numbers that :class:`lidar_rank.mm.metrics.ScanAP` shows as a table.
_NUMBER_OF_TABLE: Final = re.compile(r"/R(11|40)/\S+: ")
# Names of classes in mmengine that it calls outdated itself.
_ABOUT_MMENGINE: Final = ('"FileClient" will be deprecated', '"HardDiskBackend" is the alias')
_SPARSE_LAYERS: Final = {"SubMConv3d", "SparseConv3d", "SparseInverseConv3d"}


class _ForPeople(logging.Filter):
    """Lets through what a person reads."""

    is_starting = True

    def filter(self, record: logging.LogRecord) -> bool:
        text = record.getMessage()
        if record.levelno >= logging.WARNING:
            return not text.startswith(_ABOUT_MMENGINE)
        if self.is_starting:
            return getattr(record, "for_people", False)
        return not _NUMBER_OF_TABLE.search(text)


class ConsoleRunner(Runner):
    """mmengine's runner with a console for people."""

    def build_logger(self, *args: Any, **kwargs: Any) -> MMLogger:
        """Build the logger; its console shows warnings alone until the run has said what it is."""
        logger = super().build_logger(*args, **kwargs)
        self.console = show_less(logger)
        return logger


def show_less(logger: MMLogger) -> _ForPeople:
    """Leave out on the console of ``logger`` what is for its file."""
    shown = _ForPeople()
    for handler in logger.handlers:
        if not isinstance(handler, logging.FileHandler):
            handler.addFilter(shown)
    return shown


class AnnounceHook(Hook):
    """Say what a run is about to do, in ten lines, then let its progress through to the console.

    Args:
        config: Path of the config.
        loss: Name of the loss that was put in; None if the config kept its own.
    """

    priority = "HIGHEST"

    def __init__(self, config: str | Path, loss: str | None) -> None:
        self._config, self._loss = config, loss

    def before_train(self, runner: ConsoleRunner) -> None:
        """Announce a training."""
        loader = runner.train_dataloader
        validation = f", {len(runner.val_dataloader.dataset)} to validate" if runner.val_loop else ""
        if runner.iter:
            start = f"goes on after step {runner.iter} of the run in {runner.work_dir}"
        else:
            start = f"weights of {runner._load_from}" if runner._load_from else "random weights"
        self._announce(
            runner,
            "train",
            data=f"{_root(loader)}, {len(loader.dataset)} samples to train{validation}",
            schedule=f"{runner.max_iters} steps of {loader.batch_sampler.batch_size} samples, {len(loader)} to an"
            f" epoch, {_optimizer(runner)}, seed {runner.seed}",
            start=start,
        )

    def before_test(self, runner: ConsoleRunner) -> None:
        """Announce a test."""
        samples = len(runner.test_dataloader.dataset)
        data = f"{_root(runner.test_dataloader)}, {samples} samples to test"
        self._announce(runner, "test", data=data, start=f"weights of {runner._load_from}")

    def _announce(self, runner: ConsoleRunner, verb: str, **lines: str) -> None:
        model = runner.model.module if hasattr(runner.model, "module") else runner.model
        parameters = sum(parameter.numel() for parameter in model.parameters())
        own = {
            "config": str(self._config),
            "loss": (f"{self._loss}: " if self._loss else "") + _losses(model),
            "model": f"{type(model).__name__} with {parameters / 1e6:.2f} million weights",
            **lines,
            "backend": _backend(model),
            "device": _device(model, runner),
            "logs": f"{runner.log_dir} (log file with the whole config, TensorBoard)",
        }
        title = f"lidar_rank {__version__}: {verb} {Path(self._config).stem}"
        text = "\n".join([title, *(f"  {name:<10}{line}" for name, line in own.items())])
        runner.logger.info(text, extra={"for_people": True})
        runner.console.is_starting = False


def _optimizer(runner: Runner) -> str:
    optimizer = getattr(runner.optim_wrapper, "optimizer", runner.optim_wrapper)
    precision = f" with {type(runner.optim_wrapper).__name__}" if "Amp" in type(runner.optim_wrapper).__name__ else ""
    return type(optimizer).__name__ + precision


def _root(loader: Any) -> str:
    """The folder of a data set, through wrappers such as ``RepeatDataset``."""
    dataset = loader.dataset
    while not hasattr(dataset, "data_root") and (hasattr(dataset, "dataset") or hasattr(dataset, "datasets")):
        dataset = dataset.dataset if hasattr(dataset, "dataset") else dataset.datasets[0]
    return str(getattr(dataset, "data_root", None) or type(dataset).__name__)


def _losses(model: nn.Module) -> str:
    modules = ((name.rpartition(".")[2], module) for name, module in model.named_modules())
    losses = (f"{type(module).__name__} ({name})" for name, module in modules if name.startswith("loss_"))
    return ", ".join(dict.fromkeys(losses)) or "computed by the model"


def _backend(model: nn.Module) -> str:
    operators = "lidar_rank" if isinstance(sys.modules.get("mmcv._ext"), OwnOperators) else "mmcv, compiled"
    layers = _packages(module for module in model.modules() if type(module).__name__ in _SPARSE_LAYERS)
    if layers == "spconv_triton":
        layers += " (the first steps of the first run take minutes: Triton compiles its kernels and keeps them)"
    sparse = f"sparse convolution of {layers}, " if layers else ""
    return f"{sparse}operators of {operators}, torch {torch.__version__}"


def _packages(modules: Iterable[nn.Module]) -> str:
    return ", ".join(sorted({type(module).__module__.partition(".")[0] for module in modules}))


def _device(model: nn.Module, runner: Runner) -> str:
    device = next(model.parameters()).device
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else f"{torch.get_num_threads()} threads"
    processes = f", {runner.world_size} processes" if runner.world_size > 1 else ""
    return f"{device.type} ({name}){processes}"
