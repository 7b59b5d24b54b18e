"""What every loss shares: the call, its checks, ranking groups, reduction, ranks, and the module form."""

import functools
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any, ClassVar, Literal, TypeVar, cast

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from lidar_rank import devices
from lidar_rank.devices import require
from lidar_rank.losses._options import NonNegative, Reduction, Scope, checks_options, options_of
from lidar_rank.losses._shapes import Bool, Float, Int

LossFunction = TypeVar("LossFunction", bound=Callable[..., Tensor])
Boxes = tuple[Tensor, Tensor]
"""Regressed boxes and those of their objects, decoded: (positive, column) each, with 7 columns as in
``geometry.columns``, 5 seen from above, or 4 for left, top, right, bottom."""

# Stands where a candidate takes no part. Finite, so that 0 * ABSENT is 0 where 0 * inf would be NaN.
ABSENT = -1e30


def classification_loss(function: LossFunction) -> LossFunction:
    """Give ``function`` the contract: inputs and options are checked, and arithmetic is float32 or wider.

    Options are the keyword-only parameters whose annotations say which numbers or words they take.
    """
    with_options = checks_options(function)

    @functools.wraps(function)
    def checked(
        logits: Tensor, labels: Tensor, *, iou: Tensor | None = None, level: Tensor | None = None, **options: Any
    ) -> Tensor:
        check_classification_inputs(logits, labels, iou, level)
        with full_precision(logits):
            logits = widen(logits)
            return with_options(logits, labels, iou=_like(iou, logits), level=level, **options)

    return cast(LossFunction, checked)


def localization_loss(function: LossFunction) -> LossFunction:
    """As :func:`classification_loss`, for losses on encoded boxes."""
    with_options = checks_options(function)

    @functools.wraps(function)
    def checked(
        pred: Tensor, target: Tensor, *, iou: Tensor | None = None, boxes: Boxes | None = None, **options: Any
    ) -> Tensor:
        check_localization_inputs(pred, target, iou, boxes)
        with full_precision(pred):
            pred = widen(pred)
            boxes = None if boxes is None else (boxes[0].to(pred.dtype), boxes[1].to(pred.dtype))
            return with_options(pred, widen(target), iou=_like(iou, pred), boxes=boxes, **options)

    return cast(LossFunction, checked)


def full_precision(values: Tensor) -> AbstractContextManager[object]:
    """Switch autocast off on the device of ``values``."""
    device = values.device.type
    return torch.autocast(device, enabled=False) if torch.amp.is_autocast_available(device) else nullcontext()


def widen(values: Tensor) -> Tensor:
    """Half precision becomes float32; wider types stay."""
    return values.float() if values.dtype in (torch.float16, torch.bfloat16) else values


def _like(iou: Tensor | None, values: Tensor) -> Tensor | None:
    return None if iou is None else iou.to(values.dtype)


# ---------------------------------------------------------------------------------------------------------- checks


def check_classification_inputs(logits: Tensor, labels: Tensor, iou: Tensor | None, level: Tensor | None) -> None:
    """Raise a ValueError that names the argument."""
    if logits.ndim != 3 or logits.shape[2] == 0 or not logits.is_floating_point():
        raise ValueError(f"logits must be a float tensor (image, candidate, class), got {describe(logits)}")
    if labels.shape != logits.shape[:2] or labels.dtype != torch.int64:
        raise ValueError(f"labels must be int64 of shape {tuple(logits.shape[:2])}, got {describe(labels)}")
    if iou is not None and (iou.shape != logits.shape[:2] or not iou.is_floating_point()):
        raise ValueError(f"iou must be a float tensor of shape {tuple(logits.shape[:2])}, got {describe(iou)}")
    if level is not None and (level.shape != logits.shape[1:2] or level.dtype != torch.int64):
        raise ValueError(f"level must be int64 of shape {tuple(logits.shape[1:2])}, got {describe(level)}")
    classes = logits.shape[2]
    if labels.numel():
        low, high = labels.aminmax()
        require(
            (low >= -1) & (high <= classes),
            f"labels must lie in [-1, {classes}]: -1 ignored, 0..{classes - 1} an object's class, {classes} background",
            lambda: range_of(labels),
        )
    require_finite("logits", logits, "a module with nonfinite='drop' leaves such candidates out and counts them")


def check_localization_inputs(pred: Tensor, target: Tensor, iou: Tensor | None, boxes: Boxes | None) -> None:
    """Raise a ValueError that names the argument."""
    if pred.ndim != 2 or not pred.is_floating_point():
        raise ValueError(f"pred must be a float tensor (positive, dimension), got {describe(pred)}")
    if target.shape != pred.shape or not target.is_floating_point():
        raise ValueError(f"target must be a float tensor of pred's shape {tuple(pred.shape)}, got {describe(target)}")
    if iou is not None and (iou.shape != pred.shape[:1] or not iou.is_floating_point()):
        raise ValueError(f"iou must be a float tensor of shape {tuple(pred.shape[:1])}, got {describe(iou)}")
    if boxes is not None:
        _check_shapes_of_boxes(boxes, len(pred))
    require_finite("pred", pred)
    require_finite("target", target)


def _check_shapes_of_boxes(boxes: Boxes, positives: int) -> None:
    regressed, true = boxes
    shaped = regressed.ndim == 2 and regressed.shape[0] == positives and regressed.shape[1] in (4, 5, 7)
    if not shaped or true.shape != regressed.shape or not (regressed.is_floating_point() and true.is_floating_point()):
        raise ValueError(
            f"boxes must be two float tensors ({positives}, 7), ({positives}, 5) or ({positives}, 4), regressed boxes"
            f" and those of their objects, got {describe(regressed)} and {describe(true)}"
        )


def require_finite(name: str, values: Float[Tensor, "..."], remedy: str = "") -> None:
    """Refuse inf and NaN; ``remedy`` says what to do about them."""
    # On a CPU one sum is several times cheaper than the exact test, and no inf or NaN gets past it.
    if devices.on_cpu(values) and widen(values.detach()).sum().isfinite():
        return
    finite = values.isfinite()
    require(
        finite.all(),
        f"{name} must be finite{remedy and f' ({remedy})'}",
        lambda: f"{int((~finite).sum())} of {values.numel()} values are not",
    )


def range_of(values: Tensor) -> str:
    """Say which values were got, for messages."""
    return f"got values from {values.min().item()} to {values.max().item()}"


class MissingInputError(ValueError):
    """A loss was called without an input that it cannot do without."""


def require_iou(name: str, iou: Tensor | None) -> Tensor:
    """Return ``iou``, or say which loss cannot do without it."""
    if iou is None:
        raise MissingInputError(
            f"{name} needs iou=, the overlap of each positive's regressed box with its object; got None"
        )
    return iou


def require_boxes(name: str, boxes: Boxes | None) -> Boxes:
    """Return ``boxes``, or say which loss cannot do without them; refuse values that are no boxes."""
    if boxes is None:
        raise MissingInputError(
            f"{name} needs boxes=, the regressed boxes and those of their objects, decoded; got None (the heads of"
            " scope lidar_rank pass them)"
        )
    regressed, true = boxes
    require_finite("boxes[0]", regressed, "limit the encoded sizes before decoding takes their exponential")
    require_finite("boxes[1]", true)
    low, high = (sizes_of(part) for part in boxes)
    require((low >= 0).all(), "the sizes of boxes[0], the regressed boxes, must be >= 0", lambda: range_of(low))
    require((high > 0).all(), "the sizes of boxes[1], the objects, must be > 0", lambda: range_of(high))
    return boxes


def sizes_of(boxes: Float[Tensor, "positive column"]) -> Float[Tensor, "positive size"]:
    """Length, width and, in 3D, height."""
    columns = boxes.shape[1]
    return boxes[:, 2:] - boxes[:, :2] if columns == 4 else boxes[:, 3:6] if columns == 7 else boxes[:, 2:4]


def describe(tensor: Tensor) -> str:
    """Dtype and shape, for messages."""
    return f"{str(tensor.dtype).removeprefix('torch.')} of shape {tuple(tensor.shape)}"


# -------------------------------------------------------------------------------------------- groups and reduction


def to_groups(scope: Scope, *tensors: Tensor) -> list[Tensor]:
    """View ``(image, candidate, ...)`` tensors, logits and labels first, as ``(group, candidate, ...)``.

    With ``scope="image"`` an image is a group, with ``"batch"`` all images are one. Groups hold at least one
    candidate: an empty one gets an ignored candidate, so that no loss needs a branch for it.
    """
    grouped = [t.flatten(0, 1).unsqueeze(0) if scope == "batch" else t for t in tensors]
    if grouped[0].shape[1] == 0:
        return [F.pad(t, (0, 0) * (t.ndim - 2) + (0, 1), value=-1 if t is grouped[1] else 0) for t in grouped]
    return grouped


def positive_entries(labels: Int[Tensor, "group candidate"], classes: int) -> Bool[Tensor, "group candidate class"]:
    """Which (candidate, class) entries are positive."""
    return labels.unsqueeze(-1) == torch.arange(classes, device=labels.device)


def truth_sign(
    labels: Int[Tensor, "group candidate"], classes: int, dtype: torch.dtype
) -> Float[Tensor, "group candidate class"]:
    """-1 at positive entries, 1 elsewhere: a positive is a negative of the opposite logit."""
    return positive_entries(labels, classes).to(dtype).mul_(-2).add_(1)


def negative_entries(labels: Int[Tensor, "group candidate"], classes: int) -> Bool[Tensor, "group candidate class"]:
    """Which entries are negative: all but the positive ones and those of ignored candidates.

    An object is a negative example of every class but its own.
    """
    return (labels >= 0).unsqueeze(-1) > positive_entries(labels, classes)


def has_candidates(labels: Int[Tensor, "group candidate"]) -> Bool[Tensor, " group"]:
    """Which groups hold a candidate that is not ignored."""
    return labels.amax(1) >= 0  # several times cheaper than any() on a mask


def pack(
    there: Bool[Tensor, "group candidate"],
) -> tuple[Int[Tensor, "group room"], Bool[Tensor, "group room"]]:
    """Bring the few candidates that are there to the front: each place's candidate, and which places hold one.

    On the CPU the room is the largest group's number. Elsewhere it is that of all candidates, which costs less than
    stopping to ask the device how many there are.
    """
    groups, candidates = there.shape
    if not devices.on_cpu(there) or groups == 0:
        return torch.arange(candidates, device=there.device).expand(groups, -1), there
    group, candidate = there.nonzero(as_tuple=True)
    number = torch.bincount(group, minlength=groups)
    room = max(int(number.max()), 1)
    source = torch.zeros(groups, room, dtype=torch.int64)
    source[group, torch.arange(len(group)) - (number.cumsum(0) - number)[group]] = candidate
    return source, torch.arange(room) < number[:, None]


def own_entries(
    labels: Int[Tensor, "group candidate"], source: Int[Tensor, "group room"], classes: int
) -> Int[Tensor, "group room"]:
    """Return the place of each source candidate's own class in a group's (candidate, class) entries, flattened."""
    return source * classes + labels.gather(1, source).clamp(0, classes - 1)


def take_highest(
    score: Float[Tensor, "group item *column"],
    there: Bool[Tensor, "group item *column"],
    count: Int[Tensor, "group *column"],
    most: int | None = None,
) -> tuple[Float[Tensor, "group room *column"], Bool[Tensor, "group room *column"], Int[Tensor, "group room *column"]]:
    """Return the ``count`` (no more than ``most``) highest scores that are there, highest first.

    Returns:
        The scores, which places hold one, and the items they came from.
    """
    # On the CPU a count costs nothing to read and the room shrinks to it; elsewhere room for every item costs less than
    # stopping for the answer.
    room = score.shape[1] if most is None else min(most, score.shape[1])
    if devices.on_cpu(score) and count.numel() > 0:
        room = min(room, max(int(count.max()), 1))
    values, source = torch.where(there, score, ABSENT).topk(room, dim=1)
    place = torch.arange(room, device=score.device).view(1, -1, *[1] * (score.ndim - 2))
    return values, (place < count.unsqueeze(1)) & there.gather(1, source), source


def positive_iou(iou: Float[Tensor, "..."], positive: Bool[Tensor, "..."]) -> Float[Tensor, "..."]:
    """Overlap at positives within [0, 1], 0 elsewhere; a box that is NaN overlaps nothing."""
    return torch.where(positive, iou.nan_to_num(0.0), 0.0).clamp(0, 1)


def reduce_groups(
    loss: Float[Tensor, " group"], counted: Bool[Tensor, " group"], reduction: Reduction
) -> Float[Tensor, "..."]:
    """Reduce one value per group; groups that are not ``counted`` are 0 and have no part in the mean.

    The mean is over the groups of all ranks.
    """
    loss = torch.where(counted, loss, 0.0)
    if reduction == "none":
        return loss
    return loss.sum() / shared_count(counted.sum(), loss.dtype) if reduction == "mean" else loss.sum()


def reduce_entries(
    total: Float[Tensor, " group"],
    number: Int[Tensor, " group"],
    counted: Bool[Tensor, " group"],
    scope: Scope,
    reduction: Reduction,
) -> Float[Tensor, "..."]:
    """Divide each group's sum over its entries by their ``number``, then reduce as :func:`reduce_groups` does.

    With ``scope="batch"`` the one group goes on in the batches of the other ranks: its number is that of all of them.
    """
    if scope == "batch":
        loss = total / shared_count(number, total.dtype)
        return loss if reduction == "none" else loss.sum()
    return reduce_groups(total / number.clamp(min=1), counted, reduction)


def reduce_rows(loss: Float[Tensor, "positive dimension"], reduction: Reduction) -> Float[Tensor, "..."]:
    """Sum a localization loss over dimensions, then reduce over positives; no positive gives a zero with a graph.

    The mean is over the positives of all ranks.
    """
    if reduction == "none":
        return loss.sum(-1)
    total = loss.sum()
    return total / shared_count(total.new_full((), len(loss)), loss.dtype) if reduction == "mean" else total


# ----------------------------------------------------------------------------------------------------------- ranks


def ranks() -> int:
    """Number of processes that share a batch: those of a distributed run while gradients are recorded, else 1.

    Without gradients, as when one rank alone evaluates, nothing will be averaged and no other rank need take part.
    """
    if torch.is_grad_enabled() and torch.distributed.is_available() and torch.distributed.is_initialized():
        return torch.distributed.get_world_size()
    return 1


def mean_over_ranks(values: Tensor) -> Tensor:
    """Average ``values``, which are constants to the gradient, over the ranks of a distributed run, if there is one.

    This is how a loss normalises itself in a distributed run. DistributedDataParallel averages the gradients of the
    ranks, so a loss whose normaliser (a number of positives, of groups or of entries, a sum of losses, a histogram) is
    the average over ranks has the gradient that one process has on the joined batch. A rank's own normaliser would let
    each of its few objects weigh more than those of a rank with many.

    Every rank must make the same calls whatever its batch holds, or all of them wait for ever: call it unconditionally
    or on options alone, never on the number of positives, and outside ``torch.no_grad()``. In turn a loss must be
    computed on every rank, also where a rank has no object.
    """
    number = ranks()
    if number == 1:
        return values
    total = values.detach().clone()
    torch.distributed.all_reduce(total)
    return total / number


def shared_count(count: Tensor, dtype: torch.dtype) -> Tensor:
    """Return a normaliser from this rank's count: the average over ranks, of a total that is at least 1."""
    return mean_over_ranks(count.to(dtype)).clamp(min=1 / ranks())


# ------------------------------------------------------------------------------------- gradients that are set by hand


class _WithGradient(torch.autograd.Function):
    """A value per group whose gradient is given, for losses that set it by hand."""

    @staticmethod
    def forward(value: Tensor, *_tensors: Tensor) -> Tensor:
        return value.clone()

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, ...], _output: Tensor) -> None:
        tensors = inputs[1:]
        ctx.save_for_backward(*tensors[len(tensors) // 2 :])

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        gradients = ctx.saved_tensors
        scaled = [gradient * grad.view(-1, *[1] * (gradient.ndim - 1)) for gradient in gradients]
        return None, *scaled, *[None] * len(gradients)


def with_gradient(
    value: Float[Tensor, " group"], inputs: tuple[Tensor, ...], gradients: tuple[Tensor, ...]
) -> Float[Tensor, " group"]:
    """Return ``value`` such that its gradient with respect to each of ``inputs`` is the given one."""
    return _WithGradient.apply(value, *inputs, *gradients)


# --------------------------------------------------------------------------------------------------------- modules


class FunctionalLoss(nn.Module):
    """A loss function with its options bound; a misspelled option or a wrong value fails at construction."""

    function: Callable[..., Tensor]

    @checks_options
    def __init__(self, *, loss_weight: NonNegative = 1.0, **options: Any) -> None:
        super().__init__()
        known = options_of(self.function)
        unknown = [name for name in options if name not in known]
        if unknown:
            own = [name for cls in type(self).__mro__ if issubclass(cls, FunctionalLoss) for name in options_of(cls)]
            takes = ", ".join(dict.fromkeys(own + list(known)))
            raise TypeError(f"{type(self).__name__} has no option {unknown}; it takes {takes}")
        self.loss_weight = loss_weight
        self.options = options

    def extra_repr(self) -> str:
        """Show the bound options."""
        return ", ".join(
            f"{name}={value!r}" for name, value in {"loss_weight": self.loss_weight, **self.options}.items()
        )

    def __call__(self, *inputs: Any, **named: Any) -> Any:
        """Refuse the call of a head that flattens the batch and passes a weight of each candidate."""
        if len(inputs) > 2 or "avg_factor" in named:
            raise ValueError(
                f"{type(self).__name__} takes two inputs that keep the images apart, got {len(inputs)} and"
                f" {', '.join(named) or 'no others'}: a stock head of mmdet or mmdet3d flattens the batch; use the head"
                " of scope lidar_rank that derives from it, or wrap a classification loss in lidar_rank.FlatLoss"
            )
        return super().__call__(*inputs, **named)


class ClassificationLoss(FunctionalLoss):
    """Module form of a ``loss(logits, labels, *, iou=None, level=None)`` function.

    Args:
        loss_weight: Factor of the loss, >= 0.
        nonfinite: ``"raise"`` refuses inf and NaN among the logits; ``"drop"`` treats their candidates as ignored and
            counts them in the buffer ``dropped``.
        **options: Options of the function.

    Attributes:
        needs_iou: Must the call have ``iou``, with these options?
    """

    dropped: Tensor
    needs_iou: bool
    prior_prob: ClassVar[float] = 0.01
    """Score that a classifier should give every candidate at the start of training with this loss."""

    @checks_options
    def __init__(self, *, nonfinite: Literal["raise", "drop"] = "raise", **options: Any) -> None:
        super().__init__(**options)
        self.nonfinite = nonfinite
        self.register_buffer("dropped", torch.zeros((), dtype=torch.int64), persistent=False)
        nothing, no_labels = torch.zeros(0, 0, 1), torch.zeros(0, 0, dtype=torch.int64)
        with torch.no_grad():  # no rank waits for another
            self.function(nothing, no_labels, iou=nothing[..., 0], **self.options)
            try:
                self.function(nothing, no_labels, **self.options)
                self.needs_iou = False
            except MissingInputError:
                self.needs_iou = True

    def forward(self, logits: Tensor, labels: Tensor, **inputs: Tensor | None) -> Tensor:
        """Return the weighted loss; see the function for shapes."""
        if self.nonfinite == "drop":
            finite = logits.isfinite()
            kept = finite.all(-1)
            set_buffers(self, dropped=self.dropped + (~kept).sum())
            logits, labels = torch.where(finite, logits, 0.0), torch.where(kept, labels, -1)
        return self.loss_weight * self.compute(logits, labels, **inputs)

    def compute(self, logits: Tensor, labels: Tensor, **inputs: Any) -> Tensor:
        """Return the unweighted loss; a loss with state overrides this."""
        return self.function(logits, labels, **inputs, **self.options)


class LocalizationLoss(FunctionalLoss):
    """Module form of a ``loss(pred, target, *, iou=None, boxes=None)`` function.

    Args:
        loss_weight: Factor of the loss, >= 0.
        **options: Options of the function.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        nothing = torch.zeros(0, 1)
        boxes = torch.zeros(0, 7), torch.zeros(0, 7)
        with torch.no_grad():  # no rank waits for another
            self.function(nothing, nothing, iou=nothing[:, 0], boxes=boxes, **self.options)

    def forward(self, pred: Tensor, target: Tensor, **inputs: Any) -> Tensor:
        """Return the weighted loss; see the function for shapes."""
        return self.loss_weight * self.compute(pred, target, **inputs)

    def compute(self, pred: Tensor, target: Tensor, **inputs: Any) -> Tensor:
        """Return the unweighted loss; a loss with state overrides this."""
        return self.function(pred, target, **inputs, **self.options)


class _OutsideTransforms(torch.autograd.Function):
    """Runs an action on tensors as they are outside the transforms of torch.func, which wrap what they trace."""

    @staticmethod
    def forward(action: Callable[..., None], *tensors: Tensor) -> Tensor:
        action(*tensors)
        return tensors[0].new_empty(0)

    @staticmethod
    def setup_context(_ctx: Any, _inputs: tuple[Any, ...], _output: Tensor) -> None:
        """Nothing is kept: no gradient passes."""

    @staticmethod
    def backward(ctx: Any, _grad: Tensor) -> tuple[None, ...]:
        return (None,) * len(ctx.needs_input_grad)


def set_buffers(module: nn.Module, **values: Tensor) -> None:
    """Set buffers of ``module``; under ``torch.func.grad`` too, whose tensors are void once it has returned."""

    def action(*plain: Tensor) -> None:
        for name, value in zip(values, plain, strict=True):
            setattr(module, name, value)

    _OutsideTransforms.apply(action, *(value.detach() for value in values.values()))
