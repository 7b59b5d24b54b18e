"""Claims of the DR loss paper and of its review, beyond the contract."""

import math

import pytest
import torch

from lidar_rank.losses import dr_effective_negatives, dr_loss, temperature_from_h
from tests.losses.problems import make_problem
from tests.oracles import losses as oracles

LABELS = torch.tensor([[0, 1, 1, -1]])


def test_start_of_training():
    """At probability 0.5 the loss is 4 log(1 + e^3) / 6; the authors report "about 2"."""
    at_half = torch.zeros(1, 4, 1, dtype=torch.float64)
    assert dr_loss(at_half, LABELS).item() == pytest.approx(2.0324, abs=5e-5)
    assert dr_loss(at_half, LABELS.clamp(max=1) * 0 + 1).item() == pytest.approx(0.4621, abs=5e-5)
    assert dr_loss(at_half, LABELS, scale=1.0).item() == pytest.approx(math.log1p(math.exp(3)) / 6)


def test_temperature_from_h():
    assert temperature_from_h(math.e) == 1
    assert temperature_from_h(3.5, base=0.1) == pytest.approx(0.07982, abs=5e-6)
    with pytest.raises(ValueError, match=r"temperature_from_h needs h > 1 and base > 0, got h=1\.0"):
        temperature_from_h(1.0)


def test_gradient_of_the_means():
    """The closed form of eq. 6's derivative: dP-/dn = q (1 + (n - P-) / lambda), chained to the logits."""
    problem = make_problem(0, images=1, classes=1)
    logits = problem.logits.requires_grad_()
    dr_loss(logits, problem.labels).backward()
    prob, label = logits.detach().sigmoid()[0, :, 0], problem.labels[0]
    neg, pos = prob[label == 1], prob[label == 0]
    neg_t, pos_t = 0.1 / math.log(3.5), 1.0
    neg_q, pos_q = (neg / neg_t).softmax(0), (-pos / pos_t).softmax(0)
    neg_mean, pos_mean = (neg_q * neg).sum(), (pos_q * pos).sum()
    slope = 4 * torch.sigmoid(6 * (neg_mean - pos_mean + 0.5))
    want = torch.zeros_like(prob)
    want[label == 1] = slope * neg_q * (1 + (neg - neg_mean) / neg_t) * neg * (1 - neg)
    want[label == 0] = -slope * pos_q * (1 - (pos - pos_mean) / pos_t) * pos * (1 - pos)
    torch.testing.assert_close(logits.grad[0, :, 0], want, rtol=1e-12, atol=1e-15)


def test_detached_q_never_raises_a_negative():
    problem = make_problem(1, images=1, candidates=2000, classes=1)
    raised = {}
    for detach_q in (False, True):
        logits = problem.logits.clone().requires_grad_()
        dr_loss(logits, problem.labels, detach_q=detach_q).backward()
        raised[detach_q] = (logits.grad[problem.labels == 1] < 0).double().mean().item()
    assert raised[False] > 0.5
    assert raised[True] == 0


def test_prior_weighs_the_distributions():
    problem = make_problem(2, images=1, classes=1)
    prior = torch.rand(problem.logits.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    prior[0, ::5] = 0
    got = dr_loss(problem.logits, problem.labels, prior=prior)
    sides = {True: ([], []), False: ([], [])}
    for x, label, weight in zip(
        problem.logits[0, :, 0].tolist(), problem.labels[0].tolist(), prior[0, :, 0].tolist(), strict=True
    ):
        if label >= 0:
            sides[label == 0][0].append(oracles.sigmoid(x))
            sides[label == 0][1].append(weight)
    (pos, pos_prior), (neg, neg_prior) = sides[True], sides[False]
    gap = oracles.soft_mean(neg, math.log(3.5) / 0.1, neg, neg_prior) - oracles.soft_mean(pos, -1, pos, pos_prior)
    assert got.item() == pytest.approx(4 * oracles.dr_surrogate(gap + 0.5, "logistic"), rel=1e-12)
    # A uniform prior of any size is no prior, and a prior of 0 ignores.
    uniform = dr_loss(problem.logits, problem.labels, prior=torch.full_like(prior, 7))
    torch.testing.assert_close(uniform, dr_loss(problem.logits, problem.labels))
    kept = problem.labels.where(prior[..., 0] > 0, -1)
    dropped = dr_loss(problem.logits, problem.labels, prior=(prior > 0).double())
    torch.testing.assert_close(dropped, dr_loss(problem.logits, kept))


def test_topk_undoes_dilution():
    """One hard negative at 0.6 among easy ones at 0.02: its share falls with their number, and topk_neg restores it."""

    def neg_mean(count, topk_neg=None):
        logits = torch.full((1, count + 1, 1), 0.02, dtype=torch.float64).logit()
        logits[0, 0] = math.log(0.6 / 0.4)
        labels = torch.ones(1, count + 1, dtype=torch.int64)
        # Without positives P+ is 1; the hinge with margin 1 then returns P- itself.
        return dr_loss(logits, labels, surrogate="hinge", margin=1.0, scale=1.0, topk_neg=topk_neg).item()

    assert [round(neg_mean(count), 3) for count in (10, 1000, 70_400)] == [0.596, 0.361, 0.032]
    assert neg_mean(70_400, topk_neg=10) == pytest.approx(neg_mean(9))


def test_effective_negatives():
    logits, labels = torch.zeros(2, 50, 1), torch.ones(2, 50, dtype=torch.int64)
    logits[1, 0] = 9.0
    labels[1, 40:] = -1
    assert dr_effective_negatives(logits, labels)[0].item() == pytest.approx(50)
    assert 1 < dr_effective_negatives(logits, labels)[1].item() < 2
    assert dr_effective_negatives(logits, torch.zeros_like(labels)).tolist() == [0, 0]


def test_a_prior_of_zero_has_a_finite_gradient():
    prior = torch.tensor([[[0.0], [1.0], [0.0], [2.0]]], requires_grad=True)
    dr_loss(torch.tensor([[[0.3], [-0.2], [0.9], [0.4]]]), torch.tensor([[0, 0, 1, 1]]), prior=prior).backward()
    assert prior.grad.isfinite().all()


def test_a_narrow_quadratic_is_the_hinge():
    problem = make_problem(4).to(torch.float32)
    losses = [
        dr_loss(problem.logits, problem.labels, **options)
        for options in ({"surrogate": "quadratic", "rho": 1e-6}, {"surrogate": "hinge"})
    ]
    torch.testing.assert_close(*losses)


def test_effective_negatives_checks_its_inputs():
    with pytest.raises(ValueError, match=r"neg_temperature must lie in .*, got 0"):
        dr_effective_negatives(torch.zeros(1, 2, 1), torch.zeros(1, 2, dtype=torch.int64), neg_temperature=0)
    with pytest.raises(ValueError, match=r"labels must lie in \[-1, 1\]"):
        dr_effective_negatives(torch.zeros(1, 2, 1), torch.full((1, 2), 5))


def test_bad_prior():
    problem = make_problem(3)
    with pytest.raises(ValueError, match="prior must be a float tensor of logits' shape"):
        dr_loss(problem.logits, problem.labels, prior=problem.iou)
    for bad in (problem.logits, torch.full_like(problem.logits, math.inf)):
        with pytest.raises(ValueError, match="prior must be finite and >= 0; got values from"):
            dr_loss(problem.logits, problem.labels, prior=bad)
    with pytest.raises(ValueError, match="prior weighs distributions"):
        dr_loss(problem.logits, problem.labels, prior=problem.logits.abs(), ablation="worst")
