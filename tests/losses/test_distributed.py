"""Two processes with a part of the batch each train as one process trains on the joined batch.

DistributedDataParallel averages gradients over ranks, so the mean over ranks of each row's gradient is compared with
the gradient of one process, whatever the parts hold. Rows with ``own_batch`` rank or count within the rank's batch: two
processes then equal the mean over the batches that count.
"""

import datetime
import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import pytest
import torch
from torch import Tensor, distributed, nn
from torch.nn.parallel import DistributedDataParallel

from lidar_rank import losses
from tests.losses.problems import Problem, make_boxes, make_problem
from tests.losses.table import CLASSIFICATION, LOCALIZATION
from tests.ranks import run_ranks

RANKS = 2
LIMIT = datetime.timedelta(seconds=60)  # a rank that waits in vain fails
AUTO = "iou_balanced_loc_loss-w_loc=auto"  # an option of the module alone

Inputs = tuple[Tensor, Tensor, dict[str, Tensor]]
Result = tuple[Tensor, Tensor, Tensor]  # the loss, its gradient with respect to the first input and to the overlaps


@dataclass
class Subject:
    """A loss under test."""

    make: Callable[[], nn.Module]
    cases: dict[str, list[Inputs]]  # by name, what each rank holds
    own_batch: bool = False


def subjects() -> dict[str, Subject]:
    """Every row of the contract table by name, and what a module can do that its function cannot."""
    table = [(row, scenes()) for row in CLASSIFICATION] + [(row, boxes()) for row in LOCALIZATION]
    rows = {str(row): Subject(row.make, cases, bool(row.own_batch)) for row, cases in table}
    return {**rows, AUTO: Subject(partial(losses.IoUBalancedLocLoss, w_loc="auto"), boxes())}


def of_problem(problem: Problem, images: slice) -> Inputs:
    return problem.logits[images], problem.labels[images], {"iou": problem.iou[images], "level": problem.level}


def with_labels(problem: Problem, image: int, label: int) -> Problem:
    labels = problem.labels.clone()
    labels[image][labels[image] >= 0] = label
    return replace(problem, labels=labels)


def scenes() -> dict[str, list[Inputs]]:
    """By name: what each rank has to classify."""
    pair, three = make_problem(0), make_problem(1, images=3)
    few = with_labels(pair, 1, 3)
    few.labels[1, 5] = 2
    either = [slice(0, 1), slice(1, 2)]
    return {
        "one object against many": [of_problem(few, one) for one in either],
        "no object on one rank": [of_problem(with_labels(pair, 1, 3), one) for one in either],
        "no object at all": [of_problem(with_labels(with_labels(pair, 0, 3), 1, 3), one) for one in either],
        "all ignored on one rank": [of_problem(with_labels(pair, 1, -1), one) for one in either],
        "two images against one": [of_problem(three, slice(0, 2)), of_problem(three, slice(2, 3))],
        "no image on one rank": [of_problem(three, slice(0, 0)), of_problem(three, slice(0, 3))],
    }


def boxes() -> dict[str, list[Inputs]]:
    """By name: what each rank has to localize."""
    pred, target, iou = make_boxes(0)
    cuts = {"five against four": 5, "one against eight": 1, "none against nine": 0}
    parts = {
        name: [(pred[part], target[part], {"iou": iou[part]}) for part in (slice(0, cut), slice(cut, None))]
        for name, cut in cuts.items()
    }
    return {**parts, "none at all": [(pred[:0], target[:0], {"iou": iou[:0]})] * RANKS}


def joined(parts: list[Inputs]) -> Inputs:
    first, second, named = zip(*parts, strict=True)
    level = {"level": named[0]["level"]} if "level" in named[0] else {}
    return torch.cat(first), torch.cat(second), {"iou": torch.cat([part["iou"] for part in named]), **level}


def run(module: nn.Module, inputs: Inputs) -> Result:
    """One training step."""
    live, iou = inputs[0].clone().requires_grad_(), inputs[2]["iou"].clone().requires_grad_()
    loss = module(live, inputs[1], **{**inputs[2], "iou": iou})
    loss.backward()
    return loss.detach(), live.grad, torch.zeros_like(iou) if iou.grad is None else iou.grad


def of_head(head: nn.Module, inputs: Inputs) -> Tensor:
    """Gradient that a classifier learns from."""
    members = [losses.SigmoidFocalLoss(), losses.DRLoss(), losses.GHMCLoss(), losses.RankDetLoss()]
    losses.SumLoss(members)(head(inputs[0]), inputs[1], **inputs[2]).backward()
    return next(head.parameters()).grad


def make_head() -> nn.Module:
    torch.manual_seed(0)
    return nn.Linear(3, 3, dtype=torch.float64)


def work(rank: int, folder: str) -> None:
    """What each process does: every loss on every case, counting how often it meets the other process."""
    store = f"file://{folder}/store"
    distributed.init_process_group("gloo", init_method=store, rank=rank, world_size=RANKS, timeout=LIMIT)
    all_reduce, calls = distributed.all_reduce, []
    distributed.all_reduce = lambda *args, **named: (calls.append(args), all_reduce(*args, **named))
    if rank == 0:  # a rank may build a loss, and evaluate it, without the other
        with torch.no_grad():
            for subject in subjects().values():
                first, second, named = next(iter(subject.cases.values()))[0]
                subject.make()(first, second, **named)
    assert not calls
    results = {}
    for name, subject in subjects().items():
        for case, parts in subject.cases.items():
            results[name, case] = *run(subject.make(), parts[rank]), len(calls)
    heads = {}
    for case, parts in scenes().items():
        heads[case] = of_head(DistributedDataParallel(make_head()), parts[rank])
    torch.save((results, heads), f"{folder}/{rank}.pt")
    distributed.destroy_process_group()


@pytest.fixture(scope="module")
def ranks(tmp_path_factory: pytest.TempPathFactory) -> list[tuple[dict, dict]]:
    """What each of two processes found."""
    if not distributed.is_gloo_available():
        pytest.skip("torch was built without gloo")
    folder = tmp_path_factory.mktemp("ranks")
    os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
    run_ranks(work, folder, RANKS)
    return [torch.load(folder / f"{rank}.pt") for rank in range(RANKS)]


def one_process(subject: Subject, parts: list[Inputs]) -> Result:
    """What the two are compared with."""
    if not subject.own_batch:
        return run(subject.make(), joined(parts))
    alone = [run(subject.make(), part) for part in parts]
    counting = max(sum(bool(logits.any() or iou.any()) for _, logits, iou in alone), 1)
    loss, *gradients = zip(*alone, strict=True)
    return sum(loss) / counting, *(torch.cat(parts) / counting for parts in gradients)


@pytest.mark.parametrize("name", subjects())
def test_two_processes_equal_one(ranks, name):
    subject = subjects()[name]
    for case, parts in subject.cases.items():
        found = [results[name, case] for results, _ in ranks]
        meetings = {calls for *_, calls in found}
        assert len(meetings) == 1, f"{case}: the ranks called for each other {meetings} times"
        loss, *gradients = (
            torch.stack(values) if values[0].ndim == 0 else torch.cat(values)
            for values in zip(*(result[:3] for result in found), strict=True)
        )
        got = loss.mean(), *(gradient / RANKS for gradient in gradients)
        for mine, want in zip(got, one_process(subject, parts), strict=True):
            torch.testing.assert_close(mine, want, rtol=1e-6, atol=1e-12, msg=lambda text, case=case: f"{case}: {text}")


@pytest.mark.parametrize("case", scenes())
def test_a_head_in_distributed_data_parallel_learns_what_it_learns_alone(ranks, case):
    want = of_head(make_head(), joined(scenes()[case]))
    for _, heads in ranks:
        torch.testing.assert_close(heads[case], want, rtol=1e-6, atol=1e-12)
