"""Hooks of the training loop: reproducible epochs, warm-up, and checkpoints that fit."""

import functools
from collections.abc import Iterator

import numpy as np
from mmdet3d.datasets.transforms.dbsampler import BatchSampler
from mmengine.dataset import worker_init_fn
from mmengine.dist import get_rank
from mmengine.hooks import Hook
from mmengine.optim import BaseOptimWrapper
from mmengine.runner import Runner, set_random_seed

from lidar_rank.losses import BlendLoss
from lidar_rank.mm.checkpoints import check_fits
from lidar_rank.mm.registry import HOOKS


@HOOKS.register_module()
class EpochSeedHook(Hook):
    """Make an epoch's randomness a function of (seed, epoch, rank), so that a resumed run equals an uninterrupted one.

    mmengine restores weights and optimiser but no random state, and starts the workers of every epoch with the same
    seed: a resumed run would see other augmentations than an uninterrupted one, and without persistent workers every
    epoch would see the same ones. The order in which objects are drawn from the database is part of the randomness.

    Raises:
        ValueError: before training, if the workers outlive an epoch, as their state then depends on when a run started.
    """

    def before_train(self, runner: Runner) -> None:
        """Refuse persistent workers; load one sample, so that each epoch's workers start with numba's code compiled."""
        if runner.train_dataloader.persistent_workers:
            raise ValueError("EpochSeedHook needs train_dataloader.persistent_workers=False, got True")
        runner.train_dataloader.dataset[0]

    def before_train_epoch(self, runner: Runner) -> None:
        """Seed this process, the workers that are about to start, and the object samplers that they copy."""
        seed = int(np.random.SeedSequence((runner.seed, runner.epoch)).generate_state(1)[0] >> 1)
        set_random_seed(seed, diff_rank_seed=True)
        loader = runner.train_dataloader
        loader.worker_init_fn = functools.partial(
            worker_init_fn, num_workers=loader.num_workers, rank=get_rank(), seed=seed
        )
        for sampler in _object_samplers(loader.dataset):
            sampler._indices = np.sort(sampler._indices)
            sampler._reset()


def _object_samplers(dataset: object) -> Iterator[BatchSampler]:
    """The samplers of every ObjectSample in the pipelines of a data set and of the data sets that it wraps."""
    for transform in _transforms(getattr(dataset, "pipeline", ())):
        yield from getattr(getattr(transform, "db_sampler", None), "sampler_dict", {}).values()
    for part in getattr(dataset, "datasets", [dataset.dataset] if hasattr(dataset, "dataset") else []):
        yield from _object_samplers(part)


def _transforms(part: object) -> Iterator[object]:
    """The transforms of a pipeline, through those that hold others, such as Compose and RandomApply."""
    if isinstance(part, list | tuple):
        for member in part:
            yield from _transforms(member)
    elif hasattr(part, "transforms"):
        yield from _transforms(part.transforms)
    else:
        yield part


@HOOKS.register_module()
class WarmUpHook(Hook):
    """Move every :class:`BlendLoss` of the model from its start to its end during training.

    The progress depends on the iteration alone, so that a resumed run continues where it stopped.

    Args:
        begin: Share of all iterations until which only the start loss counts, in [0, 1].
        end: Share of all iterations from which only the end loss counts, from ``begin`` to 1; by default ``begin``,
            which switches from one loss to the other at once. Between the two shares the blend is linear.

    Raises:
        ValueError: the shares are out of order, or (before training) the model has no such loss.
    """

    def __init__(self, begin: float = 0.5, end: float | None = None) -> None:
        self._begin, self._end = begin, begin if end is None else end
        if not 0 <= self._begin <= self._end <= 1:
            raise ValueError(f"WarmUpHook needs 0 <= begin <= end <= 1, got {begin=} and {end=}")

    def before_train(self, runner: Runner) -> None:
        """Find the losses."""
        self._losses = [module for module in runner.model.modules() if isinstance(module, BlendLoss)]
        if not self._losses:
            raise ValueError("WarmUpHook needs a loss_cls of type lidar_rank.BlendLoss, the model has none")

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch: dict | None = None) -> None:  # noqa: ARG002
        """Set the progress of this iteration."""
        share = runner.iter / runner.max_iters
        blending = self._begin <= share < self._end
        progress = (share - self._begin) / (self._end - self._begin) if blending else float(share >= self._end)
        for loss in self._losses:
            loss.set_progress(progress)


@HOOKS.register_module()
class CheckpointFitsHook(Hook):
    """Refuse a checkpoint of another model: the host would load what fits and leave the rest as initialised.

    State that only a loss keeps (``loss_cls.*``) may differ, so that a run may start from one with another loss: a
    resumed training goes on with it, a new one begins with that of its own losses. A training may start without some
    of the weights; a test that left out a part, such as the IoU branch, would be one of another detector.

    Raises:
        ValueError: a parameter of the model is missing in the checkpoint or has another shape there, or a test would
            leave out one of the checkpoint.
    """

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Compare names and shapes before any weight is copied."""
        model = runner.model.module if hasattr(runner.model, "module") else runner.model
        trains = isinstance(runner.optim_wrapper, BaseOptimWrapper)
        saved = checkpoint.get("state_dict", checkpoint)
        check_fits(model, saved, runner._load_from or f"in {runner.work_dir}", trains=trains)
        if trains and not runner._resume:
            for key in [key for key in saved if ".loss_" in key]:
                del saved[key]
            saved.update({key: value for key, value in model.state_dict().items() if ".loss_" in key})
