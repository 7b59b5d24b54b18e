"""Measure the time and the peak memory of every loss, forward and backward, relative to focal loss.

    python tools/bench/bench_losses.py [--size small large] [--rounds 9] [--threads 1] [--device cuda]

All losses run in one process, interleaved within each round. A ratio is the median over rounds of the time of a loss
over the time of focal loss in the same round. On one CPU thread the clock counts the time of this thread only, so that
other programs disturb less; otherwise it is the wall clock. Memory is what the call holds at its peak in addition to
its inputs, including the gradient: from the record of the CPU allocator, or from CUDA's counter. If mmdet and mmcv are
installed, mmdet's losses are measured too. mmdet's GHMC has the settings of its GHM configs, which are the defaults of
lidar_rank.
"""

import argparse
import gc
import os
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # read when torch is imported: silences its profiler

import torch
from torch import Tensor

from lidar_rank import losses

SIZES = {"small": (2, 70_400, 1), "large": (2, 200_000, 80)}
POSITIVES = 120  # per image: as many as the assigner gives to about ten objects


@dataclass
class Problem:
    """Inputs of one call."""

    logits: Tensor
    labels: Tensor
    iou: Tensor
    level: Tensor


def make_problem(shape: tuple[int, int, int], device: str) -> Problem:
    """Scores of a detector early in training; one candidate in a hundred is ignored."""
    images, candidates, classes = shape
    torch.manual_seed(0)
    logits = torch.randn(shape) - 3
    labels = torch.full((images, candidates), classes)
    order = torch.rand(images, candidates).argsort(1)
    labels.scatter_(1, order[:, :POSITIVES], torch.randint(classes, (images, POSITIVES)))
    labels.scatter_(1, order[:, -candidates // 100 :], -1)
    problem = Problem(logits, labels, torch.rand(images, candidates), torch.arange(candidates) * 5 // candidates)
    for name, tensor in vars(problem).items():
        setattr(problem, name, tensor.to(device))
    problem.logits.requires_grad_()
    return problem


def ours(module: torch.nn.Module) -> Callable[[Problem], Tensor]:
    """Call a module of lidar_rank."""
    return lambda p: module.to(p.logits.device)(p.logits, p.labels, iou=p.iou, level=p.level)


def cases() -> dict[str, Callable[[Problem], Tensor]]:
    """Every classification loss, focal first."""
    table = {
        "focal": losses.SigmoidFocalLoss(),
        "cross entropy": losses.BinaryCrossEntropyLoss(),
        "DR": losses.DRLoss(),
        "DR, 1000 hardest negatives": losses.DRLoss(topk_neg=1000),
        "RankDet global, groups": losses.GlobalRankingLoss(),
        "RankDet global, OHEM": losses.GlobalRankingLoss(mining="ohem"),
        "RankDet global, closed form": losses.GlobalRankingLoss(mining="none"),
        "RankDet class, groups": losses.ClassRankingLoss(),
        "RankDet class, OHEM": losses.ClassRankingLoss(mining="ohem"),
        "RankDet class, closed form": losses.ClassRankingLoss(mining="none"),
        "RankDet IoU": losses.IoURankingLoss(),
        "RankDet, sum of three, groups": losses.RankDetLoss(),
        "RankDet, sum of three, OHEM": losses.RankDetLoss(mining="ohem"),
        "RankDet, sum of three, closed form": losses.RankDetLoss(mining="none"),
        "RankDet global, logistic, all pairs": losses.GlobalRankingLoss(surrogate="logistic", mining="none"),
        "GHM-C, unit regions": losses.GHMCLoss(),
        "GHM-C, exact": losses.GHMCLoss(density="exact"),
        "IoU-balanced": losses.IoUBalancedClsLoss(),
        "OHEM": losses.OHEMLoss(),
        "quality focal": losses.QualityFocalLoss(),
        "varifocal": losses.VarifocalLoss(),
        "RankSort": losses.RankSortLoss(),
        "aLRP": losses.ALRPLoss(),
        "concordance": losses.ConcordanceLoss(),
        "AP": losses.APLoss(),
    }
    listed = {type(module) for module in table.values()}
    table |= {loss.__name__: loss() for loss in losses.CLASSIFICATION_LOSSES if loss not in listed}
    return {name: ours(module) for name, module in table.items()} | host_cases()


def host_cases() -> dict[str, Callable[[Problem], Tensor]]:
    """Return mmdet's losses, called as its heads call them: flattened, with weight 0 for ignored candidates."""
    try:
        from mmdet.models.losses import GHMC, FocalLoss
    except ImportError:
        return {}
    focal, ghm = FocalLoss(), GHMC(bins=30, momentum=0.75)

    def flat(p: Problem) -> tuple[Tensor, Tensor, Tensor]:
        return p.logits.flatten(0, 1), p.labels.flatten().clamp(min=0), (p.labels.flatten() >= 0).float()

    return {"mmdet FocalLoss": lambda p: focal(*flat(p)), "mmdet GHMC": lambda p: ghm(*flat(p))}


def step(loss: Callable[[Problem], Tensor], problem: Problem) -> None:
    """Forward and backward."""
    problem.logits.grad = None
    loss(problem).backward()


def seconds(loss: Callable[[Problem], Tensor], problem: Problem, repeats: int) -> float:
    """Time of one step."""
    device = problem.logits.device.type
    clock = time.process_time if device == "cpu" and torch.get_num_threads() == 1 else time.perf_counter
    _synchronize(device)
    start = clock()
    for _ in range(repeats):
        step(loss, problem)
    _synchronize(device)
    return (clock() - start) / repeats


def peak_bytes(loss: Callable[[Problem], Tensor], problem: Problem) -> int:
    """Most memory that one step holds beyond what was there before."""
    problem.logits.grad = None
    gc.collect()
    if problem.logits.device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        step(loss, problem)
        return torch.cuda.max_memory_allocated() - before
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as profile:
        step(loss, problem)
    changes = [event for event in profile.profiler.kineto_results.events() if event.name() == "[memory]"]
    held = peak = 0
    for event in sorted(changes, key=lambda event: event.start_ns()):
        held += event.nbytes()
        peak = max(peak, held)
    return peak


def _synchronize(device: str) -> None:
    if device == "cuda":
        torch.cuda.synchronize()


def bench(size: str, rounds: int, device: str, only: list[str]) -> None:
    """Print one table."""
    problem = make_problem(SIZES[size], device)
    table = {
        name: loss for name, loss in cases().items() if name == "focal" or not only or any(o in name for o in only)
    }
    repeats = 5 if problem.logits.numel() < 1e6 else 1
    times: dict[str, list[float]] = {name: [] for name in table}
    for loss in table.values():
        step(loss, problem)
    for _ in range(rounds):
        for name, loss in table.items():
            times[name].append(seconds(loss, problem, repeats))
    memory = {name: peak_bytes(loss, problem) for name, loss in table.items()}
    print(f"\n{' x '.join(f'{n:,}' for n in SIZES[size])} logits (image x candidate x class)\n")
    print("| loss | ms | x focal | x mmdet's focal | peak MB | x focal |\n| --- | ---: | ---: | ---: | ---: | ---: |")
    for name in table:
        ratios = [ratio(times[name], times.get(other)) for other in ("focal", "mmdet FocalLoss")]
        print(
            f"| {name} | {1e3 * statistics.median(times[name]):.1f} | {ratios[0]} | {ratios[1]} "
            f"| {memory[name] / 1e6:.1f} | {memory[name] / memory['focal']:.2f} |"
        )


def ratio(times: list[float], base: list[float] | None) -> str:
    """Median over rounds of the ratio within one round."""
    return f"{statistics.median(t / b for t, b in zip(times, base, strict=True)):.2f}" if base else "-"


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", nargs="+", choices=SIZES, default=list(SIZES))
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--threads", type=int, default=1, help="CPU threads")
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--only", nargs="*", default=[], help="losses whose name contains one of these; focal always")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    name = torch.cuda.get_device_name() if args.device == "cuda" else f"CPU, {args.threads} thread(s)"
    print(f"torch {torch.__version__}, {name}, median of {args.rounds} rounds")
    for size in args.size:
        bench(size, args.rounds, args.device, args.only)


if __name__ == "__main__":
    main()
