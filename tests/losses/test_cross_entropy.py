"""Cross entropy against torch's."""

import torch
from torch.nn import functional as F

from lidar_rank.losses import cross_entropy_loss
from tests.losses.problems import make_problem


def test_is_torchs_over_the_kept_candidates():
    problem = make_problem(0)
    kept = problem.labels >= 0
    target = F.one_hot(problem.labels[kept], 4)[:, :3].double()
    want = F.binary_cross_entropy_with_logits(problem.logits[kept], target)
    torch.testing.assert_close(cross_entropy_loss(problem.logits, problem.labels), want)
