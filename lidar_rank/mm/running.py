"""Training, testing and analysis of a config, as ``lidar-rank train``, ``test`` and ``analyze`` call them."""

import os
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import torch
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.logging import MMLogger

import lidar_rank.mm  # noqa: F401 - registers all that configs name
from lidar_rank import runs
from lidar_rank.analysis import Diagnosis
from lidar_rank.kitti.preparation import INFO_NAMES
from lidar_rank.mm.checkpoints import SHIPPED, check_checkpoints, check_start
from lidar_rank.mm.configs import check_warm_up, load_config, training_settings
from lidar_rank.mm.console import AnnounceHook, ConsoleRunner, show_less
from lidar_rank.mm.datasets import check_annotations, use_split
from lidar_rank.mm.diagnostics import mean_gradients
from lidar_rank.mm.image_results import ImageResultsHook
from lidar_rank.mm.ranking import RankingHook
from lidar_rank.mm.seam import check_losses_have_images
from lidar_rank.page import Results, Run
from lidar_rank.weights import find_shipped

# A place in the text of a config that mmengine fills from the environment: variable and default.
_VARIABLE = re.compile(r"\{\{['\"]?\s*\$(\w+)\s*:\s*(\S*?)\s*['\"]?\}\}")


def train(
    config: str,
    *,
    loss: str | None = None,
    work_dir: str | None = None,
    resume: bool = False,
    amp: bool = False,
    seed: int | None = None,
    diagnose: int | None = None,
    init: str | None = None,
    options: dict | None = None,
) -> None:
    """Train ``config``; under ``torchrun`` or Slurm this is one of many processes.

    Args:
        config: Path of an mmengine config.
        loss: Name of a loss to put in, one of those that the config takes.
        work_dir: Where logs and checkpoints go; default ``work_dirs/<config name>``, with ``_<loss>`` if one is put in.
        resume: Continue from the newest checkpoint in ``work_dir``, or start from the beginning if there is none.
            Weights and the optimiser's state come from the checkpoint, hyperparameters from the config.
        amp: Mixed precision: float16 with loss scaling on CUDA, bfloat16 on a CPU.
        seed: Seed of weights, order and augmentation; default that of the config, else 0.
        diagnose: Steps between measurements of :class:`lidar_rank.mm.diagnostics.DiagnosticsHook`; None adds no such
            hook.
        init: Name of a model that comes with the package, whose weights the training starts from.
        options: Settings that replace those of the config, keys with dots.

    Raises:
        FileNotFoundError: the config, or a file of the data set that it names, does not exist.
        ValueError: the config does not take the loss, or does not fit the data, the checkpoint or itself; found before
            the first step.
        TrainingError: an error after the first step, whose traceback is in the log as well.
    """
    cfg = _load(config, loss, work_dir, options)
    check_warm_up(cfg)
    _check_data(cfg, "train_dataloader", "val_dataloader")
    if init is not None:
        cfg.load_from = SHIPPED + find_shipped(init).name
    _choose_start(cfg, resume)
    check_checkpoints(cfg)
    cfg.randomness = {"seed": 0, **cfg.get("randomness", {}), **({} if seed is None else {"seed": seed})}
    if amp:
        _use_mixed_precision(cfg)
    _add_hook(cfg, "lidar_rank.ScheduleHook")
    if diagnose is not None:
        _add_hook(cfg, "lidar_rank.DiagnosticsHook", interval=diagnose)
    runner = _runner(cfg, config, loss)
    if init is not None:
        check_start(runner.model, cfg.val_dataloader.dataset.metainfo.classes, find_shipped(init))
    _train(runner)


def test(
    config: str,
    checkpoint: str,
    *,
    loss: str | None = None,
    split: str | None = None,
    out: str | None = None,
    work_dir: str | None = None,
    options: dict | None = None,
) -> dict[str, float]:
    """Evaluate ``checkpoint`` on the test set of ``config`` and return its metrics.

    Args:
        config: Path of an mmengine config.
        checkpoint: Path of weights trained with it.
        loss: Name of the loss that was put in.
        split: ``train``, ``val``, ``trainval`` or ``test``, of a KITTI root; default the test set of the config.
        out: Folder for KITTI result files, one per frame; for images, for pictures of the detections and COCO results.
        work_dir: Where logs go; default as of :func:`train`.
        options: Settings that replace those of the config, keys with dots.

    Raises:
        FileNotFoundError: the config, the checkpoint, or a file of the data set does not exist.
        ValueError: the config has no test set, or the checkpoint is of another model.
    """
    cfg = _load_for_test(config, checkpoint, loss, work_dir, options, split=split, out=out)
    if out:
        _write_results(cfg, Path(out).absolute())
    return _runner(cfg, config, loss).test()


def analyze(
    config: str,
    checkpoint: str,
    *,
    loss: str | None = None,
    min_score: float = 0.0,
    work_dir: str | None = None,
    options: dict | None = None,
) -> Run:
    """Evaluate ``checkpoint`` as :func:`test` does and, in the same pass, measure how its head ranks all candidates.

    The run holds what ``lidar-rank report`` and ``view`` show besides: the boxes of all frames and of their objects,
    and the settings that the checkpoint was trained with.

    Args:
        config: Path of an mmengine config whose head is one of scope ``lidar_rank``.
        checkpoint: Path of weights trained with it.
        loss: Name of the loss that was put in.
        min_score: Pairs with negatives that score less are left out.
        work_dir: Where logs go; default as of :func:`train`.
        options: Settings that replace those of the config, keys with dots.

    Raises:
        FileNotFoundError: the config, the checkpoint, or a file of the data set does not exist.
        ValueError: the config has no test set, the checkpoint is of another model, or the head is not one of ours.
    """
    cfg = _load_for_test(config, checkpoint, loss, work_dir, options)
    settings = training_settings(Path(checkpoint), cfg)
    runner = _runner(cfg, config, loss)
    images, ranking = ImageResultsHook(), RankingHook(min_score)
    for hook in (images, ranking):  # in this order: the second moves the objects of images
        runner.register_hook(hook)
    metrics = runner.test()
    diagnosis = Diagnosis(metrics, ranking.pairs, ranking.distributions, ranking.score_iou_correlation)
    return Run(diagnosis, settings, _compared(runner) or images.results)


def _compared(runner: ConsoleRunner) -> Results | None:
    """What the test of scans compared; None for images, and where there are no labels."""
    compared = (getattr(metric, "compared", None) for metric in runner.test_evaluator.metrics)
    return next(filter(None, compared), None)


def measure_gradients(
    config: str,
    checkpoint: str,
    *,
    batches: int,
    loss: str | None = None,
    work_dir: str | None = None,
    options: dict | None = None,
) -> dict[str, float]:
    """Measure the gradient that each loss term sends into the features that all of them share.

    Args:
        config: Path of an mmengine config.
        checkpoint: Path of weights trained with it.
        batches: Number of training batches to average over.
        loss: Name of the loss that was put in.
        work_dir: Where logs go; default as of :func:`train`.
        options: Settings that replace those of the config, keys with dots.

    Returns:
        Norm for each loss term, as weighted in the config.

    Raises:
        FileNotFoundError: the config, the checkpoint, or a file of the data set does not exist.
        ValueError: the checkpoint is of another model.
    """
    runs.check_counts(batches=batches)
    runs.check_checkpoint(checkpoint)
    cfg = _load(config, loss, work_dir, options)
    _check_data(cfg, "train_dataloader")
    cfg.load_from = checkpoint
    check_checkpoints(cfg)
    cfg.randomness = {"seed": 0, **cfg.get("randomness", {})}
    runner = _runner(cfg, config, loss)
    runner.load_or_resume()
    return mean_gradients(runner, batches)


class BalancedWeight(NamedTuple):
    """The weight at which a classification loss pulls at the shared features as hard as the config's own loss."""

    own: float  # gradient of the config's own loss
    put_in: float  # gradient of the loss that was put in, with the weight that it has
    option: str  # the weight's place in the config
    weight: float


def tune_weight(
    config: str, checkpoint: str, *, loss: str, batches: int, work_dir: str | None = None, options: dict | None = None
) -> BalancedWeight:
    """Measure at which weight a classification loss pulls at the shared features as the config's own loss does.

    Args:
        config: Path of an mmengine config.
        checkpoint: Path of weights trained with the config's own loss.
        loss: Name of the loss to put in.
        batches: Number of training batches to average over, the same for both losses.
        work_dir: Where logs go; default as of :func:`train`.
        options: Settings that replace those of the config, keys with dots; those of the classification loss are for
            ``loss``, and the config's own keeps its settings.

    Raises:
        FileNotFoundError: the config, the checkpoint, or a file of the data set does not exist.
        ValueError: the loss leaves the classification as it is, or is a sum, whose parts have weights of their own; or
            the checkpoint is of another model.
    """
    of_the_loss = "model.bbox_head.loss_cls"
    shared = {key: value for key, value in (options or {}).items() if not key.startswith(of_the_loss)}
    sides = ((None, shared), (loss, options))
    own, put_in = (load_config(config, *side).model.get("bbox_head", {}) for side in sides)
    if own.get("loss_cls") == put_in.get("loss_cls"):  # of two stages, neither has it
        raise ValueError(
            f"--loss {loss} leaves the classification loss of {config}'s dense head as it is: no weight to choose"
        )
    settings, option = put_in.loss_cls, of_the_loss
    if "end" in settings:  # a BlendLoss, whose start is the loss of the warm-up
        settings, option = settings.end, f"{option}.end"
    if "losses" in settings:
        raise ValueError(
            f"--loss {loss} is a sum: give its parts weights by --cfg-options {option}.losses.1.loss_weight="
        )
    wanted, found = (
        measure_gradients(config, checkpoint, batches=batches, loss=name, work_dir=work_dir, options=settings_of)[
            "loss_cls"
        ]
        for name, settings_of in sides
    )
    if not found:
        raise ValueError(f"--loss {loss} sends no gradient into the shared features in {batches} batches: take more")
    return BalancedWeight(wanted, found, f"{option}.loss_weight", settings.get("loss_weight", 1.0) * wanted / found)


def _runner(cfg: Config, config: str, loss: str | None) -> ConsoleRunner:
    runner = ConsoleRunner.from_cfg(cfg)
    runner.register_hook(AnnounceHook(config, loss))
    return runner


def _train(runner: ConsoleRunner) -> None:
    """Train; keep the traceback of an error that comes too late to be about the input alone."""
    steps = _CountSteps()
    runner.register_hook(steps)
    try:
        runner.train()
    except Exception as error:
        if not steps.taken:
            raise
        runner.logger.exception("Training stopped after %d steps.", steps.taken)
        raise runs.TrainingError(
            f"{type(error).__name__} after {steps.taken} steps; its traceback is in {runner.logger.log_file}"
        ) from error


class _CountSteps(Hook):
    taken = 0

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None) -> None:  # noqa: ARG002
        self.taken += 1


def _load_for_test(
    config: str,
    checkpoint: str,
    loss: str | None,
    work_dir: str | None,
    options: dict | None,
    *,
    split: str | None = None,
    out: str | None = None,
) -> Config:
    runs.check_checkpoint(checkpoint)
    cfg = _load(config, loss, work_dir, options)
    if not cfg.get("test_dataloader"):
        raise ValueError(f"{config} has no test_dataloader: there is nothing to test on")
    if split:
        use_split(cfg, split, out)
    _check_data(cfg, "test_dataloader")
    cfg.load_from = checkpoint
    check_checkpoints(cfg)
    return cfg


def _load(config: str, loss: str | None, work_dir: str | None, options: dict | None) -> Config:
    show_less(MMLogger.get_instance("mmengine"))  # which speaks until the run has a logger of its own
    cfg = load_config(config, loss, options)
    check_losses_have_images(cfg.model)
    cfg.work_dir = work_dir or cfg.work_dir
    cfg.launcher = _launcher()
    if not torch.cuda.is_available():
        cfg.merge_from_dict({"env_cfg.dist_cfg.backend": "gloo"})
    return cfg


def _launcher() -> str:
    """Who started this process: torchrun and Slurm say so in the environment."""
    if "LOCAL_RANK" in os.environ:
        return "pytorch"
    return "slurm" if int(os.environ.get("SLURM_NTASKS", "1")) > 1 else "none"


def _use_mixed_precision(cfg: Config) -> None:
    if torch.cuda.is_available():
        cfg.optim_wrapper.update(type="AmpOptimWrapper", loss_scale="dynamic")
    else:
        cfg.optim_wrapper.type = "lidar_rank.CPUAmpOptimWrapper"


def _choose_start(cfg: Config, resume: bool) -> None:
    """Resume the run in the work folder if there is one; else start from ``load_from``, or at random.

    Given both, mmengine would take ``load_from`` for the checkpoint of the run to resume.
    """
    cfg.resume = resume and Path(cfg.work_dir, "last_checkpoint").is_file()
    if cfg.resume:
        cfg.load_from = None


def _add_hook(cfg: Config, name: str, **options: object) -> None:
    hooks = cfg.get("custom_hooks") or []
    if not any(isinstance(hook, dict) and hook.get("type") == name for hook in hooks):
        cfg.custom_hooks = [*hooks, {"type": name, **options}]


def _write_results(cfg: Config, out: Path) -> None:
    """Let a test leave its detections in ``out``."""
    evaluators = cfg.test_evaluator if isinstance(cfg.test_evaluator, list) else [cfg.test_evaluator]
    for evaluator in evaluators:
        if evaluator.type in ("lidar_rank.KittiAP", "lidar_rank.DistanceAP"):
            evaluator.result_dir = str(out)
        if evaluator.type == "CocoMetric":
            evaluator.outfile_prefix = str(out / "results")
    if cfg.get("default_scope") == "mmdet":
        cfg.default_hooks.visualization.update(draw=True, test_out_dir=str(out))


def _check_data(cfg: Config, *loaders: str) -> None:
    """Fail before the model is built if a data set is not prepared."""
    for loader in loaders:
        for dataset in _datasets((cfg.get(loader) or {}).get("dataset", {})):
            annotations = Path(dataset.get("data_root") or "", dataset["ann_file"])
            if not annotations.is_file():
                raise FileNotFoundError(
                    f"{loader} needs {annotations}, which does not exist. {_how_to_give_data(cfg, dataset)}"
                )
            check_annotations(dataset)


def _datasets(dataset: dict) -> Iterator[dict]:
    """The data sets with an annotation file, through wrappers such as ``RepeatDataset`` and ``ConcatDataset``."""
    if dataset.get("ann_file"):
        yield dataset
    for part in [dataset["dataset"]] if "dataset" in dataset else dataset.get("datasets", []):
        yield from _datasets(part)


def _how_to_give_data(cfg: Config, dataset: dict) -> str:
    """Name the environment variable that the text of the config takes the root from, if it takes it from one."""
    root = str(dataset.get("data_root") or "")
    variables = {os.environ.get(name, default): name for name, default in _VARIABLE.findall(cfg.text)}
    given = [name for value, name in variables.items() if value and root.startswith(value)]
    other_root = f"name another root with {given[0]}=DIR" if given else f"put the data set, or a link to it, at {root}"
    split = next((split for split, name in INFO_NAMES.items() if name == dataset["ann_file"]), None)
    frames = Path(root, "ImageSets", f"{split}.txt")
    if split and frames.parent.is_dir() and not frames.is_file():
        return (
            f"The root has no such frames: list some in {frames}, then run 'lidar-rank create-data {shlex.quote(root)}'"
            " again ('lidar-rank import' holds frames back with --val)"
        )
    if not dataset["ann_file"].endswith(".pkl"):
        return f"{other_root[0].upper()}{other_root[1:]}"
    if Path(root).is_dir():
        return f"Prepare the data set with 'lidar-rank create-data {shlex.quote(root)}', or {other_root}"
    return (
        f"There is no folder {root}: put KITTI there, or make scans with 'lidar-rank simulate {shlex.quote(root)}',"
        f" then run 'lidar-rank create-data {shlex.quote(root)}'; or {other_root}"
    )
