"""What a training step shows of its losses: how the head ranks, and how hard each term pulls at the shared features."""

import copy
from collections.abc import Callable, Mapping, Sequence
from itertools import islice
from math import isfinite
from typing import Any, NamedTuple

import torch
from mmengine.dist import is_main_process
from mmengine.hooks import Hook
from mmengine.runner import Runner
from torch import Tensor, nn

from lidar_rank import runs
from lidar_rank.analysis import count_reverse_pairs, score_iou_correlation
from lidar_rank.losses import BlendLoss
from lidar_rank.mm.registry import HOOKS


class Step(NamedTuple):
    """What a detector computed in the forward pass of a training step."""

    head: nn.Module  # the dense head
    features: Any  # that the head was called with
    samples: Sequence[Any]  # of the batch, with their objects
    losses: Mapping[str, Tensor | list[Tensor]]  # by term


def dense_head(model: nn.Module) -> nn.Module:
    """Return the head of a detector that takes the shared features: of two stages the first.

    Raises:
        ValueError: the model has neither ``bbox_head`` nor ``rpn_head``.
    """
    head = getattr(model, "rpn_head", None) or getattr(model, "bbox_head", None)
    if head is None:
        raise ValueError(
            f"{type(model).__name__} has neither bbox_head nor rpn_head, whose features could be looked at"
        )
    return head


def watch_next_step(model: nn.Module, measure: Callable[[Step], None]) -> None:
    """Call ``measure`` at the end of the next forward pass of ``model``, before the backward pass frees its graph.

    A pass that does not call the dense head is not measured.

    Raises:
        ValueError: the model has no dense head.
    """
    head = dense_head(model)
    given: list[Any] = []

    def finish(_model: nn.Module, _inputs: tuple, named: dict[str, Any], losses: dict[str, Any]) -> None:
        for handle in handles:
            handle.remove()
        if given:
            measure(Step(head, given[0], _as_head_sees(model, named["data_samples"]), losses))

    handles = [
        head.register_forward_pre_hook(lambda _head, inputs: given.append(inputs[0])),
        model.register_forward_hook(finish, with_kwargs=True),
    ]


def _as_head_sees(model: nn.Module, samples: Sequence[Any]) -> Sequence[Any]:
    """The samples with their objects as the dense head takes them: to region proposals all are of one class."""
    if getattr(model, "rpn_head", None) is None or "gt_instances" not in samples[0]:
        return samples
    samples = copy.deepcopy(samples)
    for sample in samples:
        sample.gt_instances.labels = torch.zeros_like(sample.gt_instances.labels)
    return samples


def gradient_norms(step: Step, scale: float = 1.0) -> dict[str, float]:
    """Norm of the gradient that each loss term sends into the features that the head takes.

    A term with a much larger gradient than the others decides what the shared layers learn. Gradients of the model's
    parameters are left as they are.

    Args:
        step: With the graph of its losses.
        scale: Factor of the losses while they are differentiated, as a training in half precision has it, so that
            small gradients do not become 0.

    Returns:
        The norm, over all features of the batch, for each loss term, as weighted in the config; nothing if no layer
        before the head is trained.
    """
    features = _trained_tensors(step.features)
    if not features:
        return {}
    terms = {name: _total(value) for name, value in step.losses.items() if "loss" in name}
    return {name: _norm(scale * term, features) / scale for name, term in terms.items() if term.requires_grad}


def feature_gradients(model: nn.Module, data: Mapping[str, Any]) -> dict[str, float]:
    """:func:`gradient_norms` of a step that is not trained.

    Args:
        model: A detector of the host with a ``bbox_head`` or ``rpn_head``, in training mode.
        data: A batch, as the training's data loader gives it.

    Raises:
        ValueError: the model has no such head, or does not call it with features that are trained.
    """
    found: list[dict[str, float]] = []
    watch_next_step(model, lambda step: found.append(gradient_norms(step)))
    with torch.enable_grad():
        model(**model.data_preprocessor(data, True), mode="loss")
    if not any(found):
        raise ValueError(f"{type(dense_head(model)).__name__} was not called with features that are trained")
    return found[0]


def _trained_tensors(values: Any) -> list[Tensor]:
    if isinstance(values, Tensor):
        return [values] if values.requires_grad else []
    return (
        [tensor for value in values for tensor in _trained_tensors(value)] if isinstance(values, list | tuple) else []
    )


def _total(value: Tensor | list[Tensor]) -> Tensor:
    """Sum a term that the host gives per level."""
    return sum(part.sum() for part in value) if isinstance(value, list) else value.sum()


def _norm(term: Tensor, features: list[Tensor]) -> float:
    gradients = torch.autograd.grad(term, features, retain_graph=True, allow_unused=True)
    squares = [gradient.float().square().sum() for gradient in gradients if gradient is not None]
    return float(torch.stack(squares).sum().sqrt()) if squares else 0.0


def ranking(step: Step) -> dict[str, float]:
    """How the head ranks the candidates of a step, as ``lidar-rank analyze`` measures it on a test set.

    Returns:
        Percentage of reversed pairs (F-B, P-N, P-P) and the correlation of scores and overlaps of positives. What
        cannot be measured is left out: pairs that the batch does not have, all of it if scores are not finite, or if
        the head does not say which candidates are objects.
    """
    if not hasattr(step.head, "candidates"):
        return {}
    metas = [sample.metainfo for sample in step.samples]
    found = step.head.candidates(step.features, *_objects(step.samples, metas))
    if not found.scores.isfinite().all():
        return {}
    arrays = [part.cpu().numpy() for part in found]
    pairs = count_reverse_pairs(*arrays)
    values = {
        "reversed_pairs_percent/F-B": 100 * pairs.foreground_background.ratio,
        "reversed_pairs_percent/P-N": 100 * pairs.positive_negative.ratio,
        "reversed_pairs_percent/P-P": 100 * pairs.positive_positive.ratio,
        "score_iou_correlation": score_iou_correlation(*arrays),
    }
    return {name: value for name, value in values.items() if isfinite(value)}


def _objects(samples: Sequence[Any], metas: list[dict]) -> tuple[list, ...]:
    """Objects, meta data and ignored regions of a training batch, as heads take them."""
    if "gt_instances_3d" in samples[0]:
        return [sample.gt_instances_3d for sample in samples], metas
    objects = [sample.gt_instances for sample in samples]
    return objects, metas, [sample.get("ignored_instances") for sample in samples]


@HOOKS.register_module()
class DiagnosticsHook(Hook):
    """Show while a detector trains how it ranks and what its loss terms do.

    Every ``interval`` steps the step itself is measured, between its forward and its backward pass: the reversed pairs
    and the correlation of scores and overlaps on its batch (:func:`ranking`), and the gradient that each loss term
    sends into the features that the head takes (:func:`gradient_norms`). The numbers go to the log and to TensorBoard,
    as ``reversed_pairs_percent/...``, ``score_iou_correlation`` and ``feature_gradient/...``. The training stays the
    same. In a distributed run they are those of the first process's share of the batch.

    Args:
        interval: Steps from one measurement to the next.

    Raises:
        ValueError: ``interval`` is not a positive integer; or, before training, the model has neither ``bbox_head`` nor
            ``rpn_head``.
    """

    def __init__(self, interval: int = 100) -> None:
        if not isinstance(interval, int):
            raise ValueError(f"interval must be an integer, got {interval!r}")
        runs.check_counts(interval=interval)
        self._interval = interval

    def before_train(self, runner: Runner) -> None:
        """Check that there is a head to look at."""
        self._model = runner.model.module if hasattr(runner.model, "module") else runner.model
        dense_head(self._model)

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None) -> None:  # noqa: ARG002
        """Watch the step that is about to be taken."""
        if is_main_process() and self.every_n_train_iters(runner, self._interval):
            watch_next_step(self._model, lambda step: self._record(runner, step))

    def _record(self, runner: Runner, step: Step) -> None:
        scaler = getattr(runner.optim_wrapper, "loss_scaler", None)
        norms = gradient_norms(step, scaler.get_scale() if scaler else 1.0)
        values = {**ranking(step), **{f"feature_gradient/{name}": norm for name, norm in norms.items()}}
        runner.visualizer.add_scalars(values, step=runner.iter + 1)
        shown = ", ".join(f"{name} {value:.4g}" for name, value in values.items())
        runner.logger.info(f"Diagnostics of step {runner.iter + 1}: {shown}")


def mean_gradients(runner: Runner, batches: int) -> dict[str, float]:
    """Mean of :func:`feature_gradients` over the first batches of the training set.

    Args:
        runner: With a model and a training set; the model's state stays as it is.
        batches: Number of batches, fewer if the training set is smaller.
    """
    model = runner.model
    for module in model.modules():
        if isinstance(module, BlendLoss):  # which a training moves: a checkpoint that is measured is past its warm-up
            module.set_progress(1.0)
    was_training = model.training
    model.train()
    found = [_unnoticed(model, data) for data in islice(runner.build_dataloader(runner.cfg.train_dataloader), batches)]
    model.train(was_training)
    return {name: sum(norms[name] for norms in found) / len(found) for name in found[0]}


def _unnoticed(model: nn.Module, data: Mapping[str, Any]) -> dict[str, float]:
    """Measure without a trace: neither batch norm, nor losses with a state, nor random numbers notice."""
    kept = {name: value.clone() for name, value in model.named_buffers()}
    with torch.random.fork_rng():
        norms = feature_gradients(model, data)
    with torch.no_grad():
        for name, value in model.named_buffers():
            value.copy_(kept[name])
    return norms


def format_gradients(norms: Mapping[str, float]) -> str:
    """Return a table for people: the norm of each term, and as a multiple of the first classification term's."""
    first = norms[next(iter(norms))]
    width = max(map(len, norms))
    rows = [
        f"{name:<{width}}  {norm:10.4g}  {norm / first if first else float('nan'):8.3f}" for name, norm in norms.items()
    ]
    return "\n".join([f"{'loss term':<{width}}  {'gradient':>10}  {'ratio':>8}", *rows])
