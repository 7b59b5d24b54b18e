"""Claims of the aLRP paper, beyond the contract."""

import random

import pytest
import torch
from torch import Tensor

from lidar_rank.losses import ALRPLoss, alrp_loss
from tests.losses.problems import Problem, make_problem
from tests.losses.test_rank_sort import make_scene
from tests.oracles.losses import alrp_of_group


def run(problem: Problem, **options) -> tuple[Tensor, Tensor, Tensor]:
    live, iou = problem.logits.clone().requires_grad_(), problem.iou.clone().requires_grad_()
    loss = alrp_loss(live, problem.labels, iou=iou, **options)
    loss.backward()
    return loss.detach(), live.grad.flatten(), iou.grad.flatten()


def test_known_values():
    scene = make_scene((1.0, 0.2, -0.3), (0.8, 0.95, 0.85), (0.5, -0.1, -0.4, -2.0))  # E = 0.4, 0.1, 0.3
    loss, gradient, _ = run(scene)
    classification, _, _ = run(scene, loc_weight=0.0)
    assert classification.item() == pytest.approx(0.319429, abs=1e-6)
    assert (loss - classification).item() == pytest.approx(0.20943, abs=1e-5)
    want = [-0.064198, -0.162687, -0.171986, 0.231697, 0.100369, 0.066803, 0.0]
    torch.testing.assert_close(gradient, torch.tensor(want, dtype=torch.float64), rtol=0, atol=1e-6)


def test_equals_the_authors_loop_on_random_scenes():
    generator = random.Random(1)
    for case in range(200):
        pos = [round(generator.gauss(0, 1.5), generator.choice((1, 9))) for _ in range(generator.randint(1, 7))]
        neg = [round(generator.gauss(-0.5, 1.5), generator.choice((1, 9))) for _ in range(generator.randint(0, 25))]
        overlaps = [round(generator.random(), generator.choice((1, 9))) for _ in pos]
        delta, tau = generator.choice((0.0, 0.5, 1.0)), generator.choice((0.0, 0.5))
        classification, localization, up, down = alrp_of_group(pos, neg, overlaps, delta, tau)
        loss, gradient, _ = run(make_scene(pos, overlaps, neg), delta=delta, tau=tau)
        assert loss.item() == pytest.approx(classification + localization, abs=1e-12), case
        torch.testing.assert_close(gradient, torch.tensor(up + down, dtype=torch.float64), rtol=1e-11, atol=1e-12)


def test_gradients_cancel_and_boxes_are_pulled_to_their_objects():
    problem = make_problem(0)
    _, gradient, of_iou = run(problem)
    positive = ((problem.labels >= 0) & (problem.labels < 3)).flatten()
    assert gradient.sum().item() == pytest.approx(0, abs=1e-12)
    assert (of_iou[positive] < 0).all()
    assert (of_iou[~positive] == 0).all()


def test_perfect_boxes_leave_the_error_of_the_ranking():
    """Without localization error the loss is one minus the mean precision: hits at ranks 1, 3 and 4 of 5."""
    scene = make_scene((50.0, 30.0, 20.0), (1.0, 1.0, 1.0), (40.0, 10.0))
    assert run(scene)[0].item() == pytest.approx(1 - (1 + 2 / 3 + 3 / 4) / 3)


def test_balance_makes_the_localization_part_as_large_as_the_whole():
    scene = make_scene((1.0, 0.2, -0.3), (0.8, 0.95, 0.85), (0.5, -0.1, -0.4, -2.0))
    whole, *_ = run(scene)
    classification, *_ = run(scene, loc_weight=0.0)
    module = ALRPLoss(balance=True, momentum=0.5)
    for _ in range(3):
        got = module(scene.logits, scene.labels, iou=scene.iou)
        assert (got - classification).item() == pytest.approx(whole.item(), rel=1e-6)


def test_balance_averages_over_steps_and_rests_in_eval_mode():
    good = make_scene((1.0, 0.2), (0.9, 0.95), (0.5, -0.1))
    bad = make_scene((1.0, 0.2), (0.3, 0.2), (0.5, -0.1))
    parts = [[run(scene, loc_weight=0.0)[0], run(scene)[0] - run(scene, loc_weight=0.0)[0]] for scene in (good, bad)]
    module = ALRPLoss(balance=True, momentum=0.5)
    module(good.logits, good.labels, iou=good.iou)
    got = module(bad.logits, bad.labels, iou=bad.iou)
    classification, localization = (0.25 * first + 0.5 * second for first, second in zip(*parts, strict=True))
    weight = (classification + localization) / localization
    assert got.item() == pytest.approx((parts[1][0] + weight * parts[1][1]).item(), rel=1e-6)
    saved = module.state_dict()["average.averages"].clone()
    module.eval()(good.logits, good.labels, iou=good.iou)
    assert module.average.averages.equal(saved)


def test_balance_without_objects_is_one():
    scene = make_scene((), (), (0.5, -0.1))
    assert ALRPLoss(balance=True)(scene.logits, scene.labels, iou=scene.iou) == 0
