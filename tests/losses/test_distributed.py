"""Two ranks with half a batch each learn what one process learns from the whole batch."""

import os
from pathlib import Path

import pytest
import torch
from torch import Tensor, distributed, multiprocessing

from lidar_rank.losses import GHMCLoss, IoUBalancedLocLoss, ghm_c_loss, smooth_l1_loss
from tests.losses.problems import make_boxes, make_problem


def on_rank(rank: int, folder: str) -> None:
    distributed.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=2)
    one = slice(rank, rank + 1)
    problem = make_problem(0)
    logits = problem.logits[one].clone().requires_grad_()
    GHMCLoss()(logits, problem.labels[one]).backward()
    pred, target, iou = (tensor.chunk(2)[rank] for tensor in make_boxes(0, positives=8))
    box_loss = IoUBalancedLocLoss(w_loc="auto", reduction="sum")(pred, target, iou=iou)
    torch.save((logits.grad, box_loss), f"{folder}/{rank}.pt")
    distributed.destroy_process_group()


def test_ranks_share_densities_and_the_measured_weight(tmp_path: Path):
    if not distributed.is_gloo_available():
        pytest.skip("torch was built without gloo")
    os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
    multiprocessing.spawn(on_rank, (str(tmp_path),), nprocs=2)
    results: list[tuple[Tensor, Tensor]] = [torch.load(tmp_path / f"{rank}.pt") for rank in range(2)]
    problem = make_problem(0)
    problem.logits.requires_grad_()
    ghm_c_loss(problem.logits, problem.labels).backward()
    # DistributedDataParallel averages gradients over ranks.
    ranks = torch.cat([gradient for gradient, _ in results]) / 2
    torch.testing.assert_close(ranks, problem.logits.grad, rtol=1e-6, atol=0)
    pred, target, _ = make_boxes(0, positives=8)
    total = sum(loss for _, loss in results)
    torch.testing.assert_close(total, smooth_l1_loss(pred, target, reduction="sum"), rtol=1e-6, atol=0)
