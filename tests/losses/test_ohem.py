"""Claims about hard example mining, beyond the contract."""

import torch
from torch.nn import functional as F

from lidar_rank.losses import ohem_loss


def test_three_hardest_per_positive_train():
    logits = torch.linspace(-3, 3, 12).view(1, 12, 1).requires_grad_()
    labels = torch.ones(1, 12, dtype=torch.int64)
    labels[0, 0] = 0
    ohem_loss(logits, labels).backward()
    assert logits.grad[0, :, 0].nonzero().flatten().tolist() == [0, 9, 10, 11]


def test_without_objects_the_hardest_still_train():
    logits, labels = torch.randn(1, 500, 1), torch.ones(1, 500, dtype=torch.int64)
    hardest = F.softplus(logits.flatten().topk(30).values).sum() / 10
    torch.testing.assert_close(ohem_loss(logits, labels, min_negatives=30), hardest)
    assert ohem_loss(logits, labels, min_negatives=0).item() == 0
