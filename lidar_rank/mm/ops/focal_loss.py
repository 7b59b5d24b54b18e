"""Sigmoid focal loss, which the host computes with mmcv's operator on a GPU and by itself on a CPU."""

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import logsigmoid


@torch.no_grad()
def sigmoid_focal_loss_forward(
    input: Float[Tensor, "candidate label"],
    target: Int[Tensor, " candidate"],
    weight: Tensor,
    output: Float[Tensor, "candidate label"],
    gamma: float,
    alpha: float,
) -> None:
    r"""Write the focal loss (Lin et al., Focal Loss for Dense Object Detection, 2017, equation 5) of each logit.

    .. math:: -\alpha (1 - p)^\gamma \log p \quad\text{and}\quad -(1 - \alpha) p^\gamma \log(1 - p)

    at the class of the target and at the others. The logarithms are those of the logits, exact where mmcv's, taken of
    p, have no digits left.

    Args:
        input: Logits.
        target: Class, or the number of classes for background.
        weight: Empty: weights of classes, which the host does not use, are not supported.
        output: Written.
        gamma: Exponent.
        alpha: Weight of the target's class.
    """
    logits, p, is_target = _prepared(input, target, weight)
    of_target = -alpha * (1 - p) ** gamma * logsigmoid(logits)
    of_others = -(1 - alpha) * p**gamma * logsigmoid(-logits)
    output.copy_(of_target.where(is_target, of_others))


@torch.no_grad()
def sigmoid_focal_loss_backward(
    input: Float[Tensor, "candidate label"],
    target: Int[Tensor, " candidate"],
    weight: Tensor,
    grad_input: Float[Tensor, "candidate label"],
    gamma: float,
    alpha: float,
) -> None:
    """Write the derivative of the loss of each logit with respect to it.

    Args:
        input: As in :func:`sigmoid_focal_loss_forward`, and so for what is not listed here.
        target: See there.
        weight: See there.
        grad_input: Written.
        gamma: See there.
        alpha: See there.
    """
    logits, p, is_target = _prepared(input, target, weight)
    of_target = -alpha * (1 - p) ** gamma * (1 - p - gamma * p * logsigmoid(logits))
    of_others = -(1 - alpha) * p**gamma * (gamma * (1 - p) * logsigmoid(-logits) - p)
    grad_input.copy_(of_target.where(is_target, of_others))


def _prepared(input: Tensor, target: Tensor, weight: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Logits and probabilities, float32 or wider, and where the target's class is."""
    if weight.numel():
        raise NotImplementedError("sigmoid_focal_loss with weights of classes needs compiled mmcv: pass weight=None")
    logits = input.to(torch.promote_types(input.dtype, torch.float32))
    return logits, logits.sigmoid(), target[:, None] == torch.arange(input.shape[1], device=input.device)
