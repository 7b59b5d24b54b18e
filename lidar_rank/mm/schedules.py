"""The learning rate schedule of a run: checked before the first step, and that of the config when a run is resumed."""

import warnings

from mmengine.hooks import Hook
from mmengine.optim import BaseOptimWrapper, OptimWrapperDict, _ParamScheduler
from mmengine.optim.scheduler.param_scheduler import (
    CosineAnnealingParamScheduler,
    OneCycleParamScheduler,
    PolyParamScheduler,
)
from mmengine.runner import IterBasedTrainLoop, Runner

from lidar_rank.mm.registry import HOOKS

# Schedules whose last learning rate is close to zero.
_ANNEALING = (OneCycleParamScheduler, CosineAnnealingParamScheduler, PolyParamScheduler)


@HOOKS.register_module()
class ScheduleHook(Hook):
    """Make the learning rates of a run those of its config, also when it is resumed.

    mmengine restores the schedule and the hyperparameters of the optimiser from the checkpoint, so that a run resumed
    with more epochs than it was begun with stays at the last learning rate of the shorter schedule. Here only the state
    of the optimiser (its moments) comes from the checkpoint, and the schedule of the config is advanced to the resumed
    epoch: its values are those of an uninterrupted run with this config. A schedule that follows a metric
    (``ReduceOnPlateau``) is restored from the checkpoint.

    Raises:
        ValueError: before the first step, if the schedule ends before the training, or if the checkpoint to resume from
            is of a later epoch than the config's last one.
    """

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Before the host resumes: drop the checkpoint's schedule, replace its hyperparameters by the config's."""
        if not isinstance(runner.optim_wrapper, BaseOptimWrapper) or _follows_a_metric(runner):
            return
        checkpoint.pop("param_schedulers", None)
        optimizers, saved = runner.optim_wrapper, checkpoint.get("optimizer", {"param_groups": []})
        if not isinstance(optimizers, OptimWrapperDict):
            optimizers, saved = {"": optimizers}, {"": saved}
        for name, optimizer in optimizers.items():
            for old, new in zip(saved[name]["param_groups"], optimizer.param_groups, strict=False):
                old.update({key: value for key, value in new.items() if key != "params"})

    def before_train(self, runner: Runner) -> None:
        """Check the length of the schedule and advance it to the resumed epoch."""
        by_iteration = isinstance(runner.train_loop, IterBasedTrainLoop)
        unit = "iters" if by_iteration else "epochs"
        done = runner.iter if by_iteration else runner.epoch
        wanted = runner.max_iters if by_iteration else runner.max_epochs
        if done > wanted:
            raise ValueError(
                f"the checkpoint to resume from has {done} {unit}, the config asks for {wanted}: raise"
                f" train_cfg.max_{unit}, or name another work folder to start from the beginning"
            )
        _check_schedule_spans_training(runner)
        if not _follows_a_metric(runner):
            epoch_length = None if by_iteration else len(runner.train_dataloader)
            _advance(_schedules(runner), done * (epoch_length or 1), epoch_length)


def _schedules(runner: Runner) -> list[_ParamScheduler]:
    found = runner.param_schedulers or []
    return [schedule for own in found.values() for schedule in own] if isinstance(found, dict) else found


def _follows_a_metric(runner: Runner) -> bool:
    return any(getattr(schedule, "need_val_args", False) for schedule in _schedules(runner))


def _advance(schedules: list[_ParamScheduler], iterations: int, epoch_length: int | None) -> None:
    """Step as a training of so many iterations does: a value may depend on the one before."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about steps of the schedule without a step of the optimiser
        for iteration in range(1, iterations + 1):
            ends_epoch = epoch_length is not None and iteration % epoch_length == 0
            for schedule in schedules:
                if not schedule.by_epoch or ends_epoch:
                    schedule.step()


def _check_schedule_spans_training(runner: Runner) -> None:
    rates = [schedule for schedule in _schedules(runner) if schedule.param_name == "lr"]
    if not rates:
        return
    last = max(rates, key=lambda schedule: _end(schedule) / _length(runner, schedule))
    end, length = _end(last), _length(runner, last)
    if isinstance(last, _ANNEALING) and end < length:
        unit = "epochs" if last.by_epoch else "iterations"
        raise ValueError(
            f"param_scheduler: {type(last).__name__} reaches its end after {end} of {length} {unit}, and the learning"
            " rate would stay there; let total_steps, T_max and end of the schedule follow train_cfg, e.g."
            f" --cfg-options param_scheduler.0.total_steps={runner.max_epochs}"
        )


def _end(schedule: _ParamScheduler) -> int:
    total = getattr(schedule, "total_steps", None)
    return schedule.end if total is None else min(schedule.end, schedule.begin + total)


def _length(runner: Runner, schedule: _ParamScheduler) -> int:
    return runner.max_epochs if schedule.by_epoch else runner.max_iters
