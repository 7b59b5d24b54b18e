"""The same loss object behind a 2D head and a 3D head: only where its maps lie differs."""

import pytest
import torch
from torch import Tensor

from tests.losses.problems import make_problem
from tests.losses.table import CLASSIFICATION

ANCHORS, CLASSES = 2, 3
LEVELS = ((4, 4), (2, 4))  # of the pyramid: 24 candidates
BEV = (3, 4)  # with two anchors a cell: 24 candidates


def maps_of_2d_head(logits: Tensor) -> list[Tensor]:
    """(image, class, height, width) of each level, one candidate a cell."""
    sizes = [height * width for height, width in LEVELS]
    levels = zip(logits.split(sizes, 1), LEVELS, strict=True)
    return [part.transpose(1, 2).reshape(len(part), CLASSES, *size).requires_grad_() for part, size in levels]


def map_of_3d_head(logits: Tensor) -> Tensor:
    """(image, anchor x class, y, x): several anchors a cell."""
    cells = logits.view(len(logits), *BEV, ANCHORS * CLASSES)
    return cells.permute(0, 3, 1, 2).contiguous().requires_grad_()


@pytest.mark.parametrize("row", CLASSIFICATION, ids=str)
def test_2d_and_3d_heads_use_one_loss(row):
    problem = make_problem(22)
    loss = row.module(**row.options).eval()
    inputs = {"iou": problem.iou, "level": problem.level}
    pyramid, bev = maps_of_2d_head(problem.logits), map_of_3d_head(problem.logits)
    from_2d = loss(torch.cat([level.flatten(2).transpose(1, 2) for level in pyramid], 1), problem.labels, **inputs)
    from_3d = loss(bev.permute(0, 2, 3, 1).reshape(2, -1, CLASSES), problem.labels, **inputs)
    lists = (tensor.tolist() for tensor in (problem.logits, problem.labels, problem.iou, problem.level))
    want = torch.tensor(row.oracle(*lists, None, **row.options), dtype=torch.float64)
    torch.testing.assert_close(from_2d, want, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(from_3d, want, rtol=1e-12, atol=1e-12)
    (from_2d + from_3d).backward()
    grad_2d = torch.cat([level.grad.flatten(2).transpose(1, 2) for level in pyramid], 1)
    torch.testing.assert_close(grad_2d, bev.grad.permute(0, 2, 3, 1).reshape(2, -1, CLASSES), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("row", CLASSIFICATION, ids=str)
def test_where_the_logits_lie_in_memory_makes_no_difference(row):
    problem = make_problem(23)
    inputs = {"iou": problem.iou, "level": problem.level, **row.options}
    gradients = []
    for live in (problem.logits.clone(), problem.logits.transpose(1, 2).contiguous()):
        live.requires_grad_()
        seen = live if live.shape[2] == CLASSES else live.transpose(1, 2)  # a view of a (image, class, candidate) map
        row.function(seen, problem.labels, **inputs).sum().backward()
        gradients.append(live.grad)
    torch.testing.assert_close(gradients[0], gradients[1].transpose(1, 2), rtol=1e-12, atol=1e-12)
