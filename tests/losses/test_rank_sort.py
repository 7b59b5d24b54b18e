"""Claims of the RankSort paper, beyond the contract."""

import random

import pytest
import torch
from torch import Tensor

from lidar_rank.losses import RankSortLoss, rank_sort_loss
from tests.losses.problems import Problem, make_problem
from tests.oracles.losses import rank_sort_of_group

OBJECT, BACKGROUND = 0, 1


def make_scene(pos, quality, neg) -> Problem:
    logits = torch.tensor([*pos, *neg], dtype=torch.float64).view(1, -1, 1)
    labels = torch.tensor([OBJECT] * len(pos) + [BACKGROUND] * len(neg)).view(1, -1)
    iou = torch.tensor([*quality, *[0.0] * len(neg)], dtype=torch.float64).view(1, -1)
    return Problem(logits, labels, iou, torch.zeros(len(pos) + len(neg), dtype=torch.int64))


def run(problem: Problem, **options) -> tuple[Tensor, Tensor]:
    live = problem.logits.clone().requires_grad_()
    loss = rank_sort_loss(live, problem.labels, iou=problem.iou, **options)
    loss.backward()
    return loss.detach(), live.grad.flatten()


@pytest.mark.parametrize(
    ("delta", "rank", "sort", "up", "down"),
    [
        (0.5, 0.285507, 0.097778, (0.097778, -0.2, -0.183285), (0.179130, 0.077391, 0.028986, 0.0)),
        (0.0, 0.244444, 0.072222, (0.072222, -0.161111, -0.155556), (0.177778, 0.066667, 0.0, 0.0)),
    ],
)
def test_known_values(delta, rank, sort, up, down):
    scene = make_scene((1.0, 0.2, -0.3), (0.6, 0.9, 0.7), (0.5, -0.1, -0.4, -2.0))
    loss, gradient = run(scene, delta=delta)
    assert loss.item() == pytest.approx(rank + sort, abs=1e-6)
    assert run(scene, delta=delta, sort_weight=0.0)[0].item() == pytest.approx(rank, abs=1e-6)
    assert run(scene, delta=delta, rank_weight=0.0)[0].item() == pytest.approx(sort, abs=1e-6)
    torch.testing.assert_close(gradient, torch.tensor([*up, *down], dtype=torch.float64), rtol=0, atol=1e-6)


def test_equals_the_authors_loop_on_random_scenes():
    """200 scenes, with ties among the logits and among the overlaps, with none or few of each side."""
    generator = random.Random(0)
    for case in range(200):
        pos = [round(generator.gauss(0, 1.5), generator.choice((1, 9))) for _ in range(generator.randint(1, 7))]
        neg = [round(generator.gauss(-0.5, 1.5), generator.choice((1, 9))) for _ in range(generator.randint(0, 25))]
        quality = [round(generator.random(), generator.choice((1, 9))) for _ in pos]
        delta = generator.choice((0.0, 0.25, 0.5, 2.0))
        value, up, down = rank_sort_of_group(pos, neg, quality, delta, 1.0, 1.0)
        loss, gradient = run(make_scene(pos, quality, neg), delta=delta)
        assert loss.item() == pytest.approx(value, abs=1e-12), case
        torch.testing.assert_close(gradient, torch.tensor(up + down, dtype=torch.float64), rtol=1e-11, atol=1e-12)


def test_gradients_cancel_and_background_carries_the_rank_error():
    problem = make_problem(0)
    own = torch.nn.functional.one_hot(problem.labels.clamp(0), 4)[..., :3].bool() & (problem.labels >= 0)[..., None]
    _, gradient = run(problem)
    rank_error, _ = run(problem, sort_weight=0.0)
    assert gradient.sum().item() == pytest.approx(0, abs=1e-12)
    assert gradient[~own.flatten()].sum().item() == pytest.approx(rank_error.item(), abs=1e-12)
    assert (gradient[~own.flatten()] >= 0).all()


def test_boxes_that_fit_alike_are_sorted_already():
    problem = make_problem(1)
    problem.iou.fill_(0.7)
    loss, gradient = run(problem, rank_weight=0.0)
    assert loss == 0
    assert (gradient == 0).all()


def test_objects_whose_boxes_overlap_nothing_stay_objects():
    """The authors' code reads membership from the overlap, and trains such an object as background."""
    problem = make_problem(2)
    problem.iou.zero_()
    own = torch.nn.functional.one_hot(problem.labels.clamp(0), 4)[..., :3].bool() & (problem.labels >= 0)[..., None]
    _, gradient = run(problem)
    assert (gradient[own.flatten()] < 0).all()


def test_gradient_scales_with_what_comes_in():
    """The authors' code drops the incoming gradient of the sort error."""
    problem = make_problem(3)
    gradients = []
    for weight in (1.0, 3.0):
        logits = problem.logits.clone().requires_grad_()
        (weight * RankSortLoss(rank_weight=0.0)(logits, problem.labels, iou=problem.iou)).backward()
        gradients.append(logits.grad)
    assert gradients[0].abs().max() > 1e-3
    torch.testing.assert_close(3 * gradients[0], gradients[1])


def test_of_too_many_objects_the_highest_are_sorted():
    pos, quality = [3.0, 2.0, 1.0, 0.0], [0.2, 0.9, 0.5, 0.8]
    some, few = (make_scene(pos[:count], quality[:count], [0.5]) for count in (4, 2))
    loss, gradient = run(some, rank_weight=0.0, max_positives=2)
    want, want_gradient = run(few, rank_weight=0.0)
    assert loss.item() == pytest.approx(want.item() / 2), "of 4 objects instead of 2"
    torch.testing.assert_close(gradient[:2], want_gradient[:2] / 2)
    assert (gradient[2:] == 0).all()
    assert run(some, max_positives=2, sort_weight=0.0)[0] == run(some, sort_weight=0.0)[0]


def test_rows_of_pairs_add_up(monkeypatch):
    problem = make_problem(4, candidates=60)
    want = run(problem)
    monkeypatch.setattr("lidar_rank.losses.rank_sort.PAIR_ROWS", 7)
    for got, expected in zip(run(problem), want, strict=True):
        torch.testing.assert_close(got, expected, rtol=1e-12, atol=1e-14)
