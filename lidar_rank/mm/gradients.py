"""How hard each loss term pulls at the features that all of them share."""

from collections.abc import Mapping
from itertools import islice
from typing import Any

import torch
from mmengine.hooks import Hook
from mmengine.runner import Runner
from torch import Tensor, nn

from lidar_rank.mm.registry import HOOKS


def feature_gradients(model: nn.Module, data: Mapping[str, Any]) -> dict[str, float]:
    """Norm of the gradient that each loss term sends into the features that the head takes.

    A term with a much larger gradient than the others decides what the shared layers learn. Gradients of the model's
    parameters are left as they are.

    Args:
        model: A detector of the host with a ``bbox_head`` or ``rpn_head``, in training mode.
        data: A batch, as the training's data loader gives it.

    Returns:
        The norm, over all features of the batch, for each loss term, as weighted in the config.

    Raises:
        ValueError: the model has no such head, or its head is not called with features.
    """
    head = getattr(model, "rpn_head", None) or getattr(model, "bbox_head", None)
    if head is None:
        raise ValueError(
            f"{type(model).__name__} has neither bbox_head nor rpn_head, whose features could be looked at"
        )
    features: list[Tensor] = []
    handle = head.register_forward_pre_hook(lambda _, inputs: features.extend(_trained_tensors(inputs)))
    try:
        with torch.enable_grad():
            losses = model(**model.data_preprocessor(data, True), mode="loss")
    finally:
        handle.remove()
    if not features:
        raise ValueError(f"{type(head).__name__} was not called with features that are trained")
    terms = {name: _total(value) for name, value in losses.items() if "loss" in name}
    return {name: _norm(term, features) for name, term in terms.items() if term.requires_grad}


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


@HOOKS.register_module()
class FeatureGradientHook(Hook):
    """Log the norm of the gradient that each loss term sends into the shared features.

    The norms appear in the log and in TensorBoard as ``feature_gradient/<term>``.

    Args:
        interval: Steps between measurements. A measurement costs about as much as a training step.

    Raises:
        ValueError: ``interval`` is not a positive integer.
    """

    priority = "VERY_HIGH"  # before the logger

    def __init__(self, interval: int = 100) -> None:
        if not isinstance(interval, int) or interval < 1:
            raise ValueError(f"interval must be a positive integer, got {interval!r}")
        self._interval = interval

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None) -> None:  # noqa: ARG002
        """Measure the batch that is about to be trained on; neither weights nor statistics of batch norm change."""
        if runner.iter % self._interval:
            return
        model = runner.model.module if hasattr(runner.model, "module") else runner.model
        for name, norm in _unnoticed(model, data_batch).items():
            runner.message_hub.update_scalar(f"train/feature_gradient/{name}", norm)


def _unnoticed(model: nn.Module, data: Mapping[str, Any]) -> dict[str, float]:
    """Measure without a trace: neither batch norm, nor losses with a state, nor random numbers notice."""
    kept = {name: value.clone() for name, value in model.named_buffers()}
    with torch.random.fork_rng():
        norms = feature_gradients(model, data)
    with torch.no_grad():
        for name, value in model.named_buffers():
            value.copy_(kept[name])
    return norms


def mean_gradients(runner: Runner, batches: int) -> dict[str, float]:
    """Mean of :func:`feature_gradients` over the first batches of the training set.

    Args:
        runner: With a model and a training set; the model's state stays as it is.
        batches: Number of batches, fewer if the training set is smaller.
    """
    model = runner.model
    was_training = model.training
    model.train()
    found = [_unnoticed(model, data) for data in islice(runner.build_dataloader(runner.cfg.train_dataloader), batches)]
    model.train(was_training)
    return {name: sum(norms[name] for norms in found) / len(found) for name in found[0]}


def format_gradients(norms: Mapping[str, float]) -> str:
    """Return a table for people: the norm of each term, and as a multiple of the first classification term's."""
    first = norms[next(iter(norms))]
    width = max(map(len, norms))
    rows = [
        f"{name:<{width}}  {norm:10.4g}  {norm / first if first else float('nan'):8.3f}" for name, norm in norms.items()
    ]
    return "\n".join([f"{'loss term':<{width}}  {'gradient':>10}  {'ratio':>8}", *rows])
