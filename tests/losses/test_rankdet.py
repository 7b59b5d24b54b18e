"""Claims of the RankDetNet paper and of its closed forms, beyond the contract."""

import math

import pytest
import torch
from torch.nn import functional as F

from lidar_rank.losses import (
    GlobalRankingLoss,
    class_ranking_loss,
    global_ranking_loss,
    iou_ranking_loss,
    rank_det_loss,
)
from tests.losses.problems import make_problem
from tests.oracles import losses as oracles

KERNELS = {"exp": torch.exp, "sigmoid": torch.sigmoid, "logistic": F.softplus}


@pytest.mark.parametrize("loss", [global_ranking_loss, class_ranking_loss])
@pytest.mark.parametrize("mining", ["none", "ohem", "group"])
def test_range_of_the_exponential(loss, mining):
    """All tied 1, perfect e^-1, worst e: the loss does not go to 0."""
    labels = torch.tensor([[0, 0, 1, 1, 1]])
    for objects, rest, want in [(0.0, 0.0, 1.0), (60.0, -60.0, math.exp(-1)), (-60.0, 60.0, math.e)]:
        logits = torch.where(labels == 0, objects, rest).double().unsqueeze(2)
        assert loss(logits, labels, mining=mining).item() == pytest.approx(want)


@pytest.mark.parametrize("surrogate", KERNELS)
@pytest.mark.parametrize("reweight", [True, False])
def test_closed_form_is_the_sum_over_pairs(surrogate, reweight):
    generator = torch.Generator().manual_seed(0)
    logits = (4 * torch.randn(1, 2030, 1, generator=generator, dtype=torch.float64)).requires_grad_()
    labels = torch.ones(1, 2030, dtype=torch.int64)
    labels[0, :30] = 0
    got = global_ranking_loss(logits, labels, surrogate=surrogate, reweight=reweight, mining="none")
    prob = logits.flatten().sigmoid()
    pairs = KERNELS[surrogate](prob[30:, None] - prob[None, :30])
    weight = (pairs / pairs.sum()).detach() if reweight else 1 / pairs.numel()
    want = (weight * pairs).sum()
    torch.testing.assert_close(got, want, rtol=1e-12, atol=0)
    (got_gradient,), (want_gradient,) = torch.autograd.grad(got, logits), torch.autograd.grad(want, logits)
    torch.testing.assert_close(got_gradient, want_gradient, rtol=1e-11, atol=1e-15)


def test_gradient_of_the_closed_form():
    """dl/dn = l softmax(2n), dl/dp = -l softmax(-2p): each side sums to the loss, and no negative is raised."""
    problem = make_problem(0, images=1, classes=1)
    prob = problem.logits.sigmoid().requires_grad_()
    loss = global_ranking_loss(prob.logit(), problem.labels, mining="none")
    loss.backward()
    neg, pos = problem.labels[0] == 1, problem.labels[0] == 0
    slope, prob = prob.grad[0, :, 0], prob.detach()[0, :, 0]
    torch.testing.assert_close(slope[neg], loss.detach() * (2 * prob[neg]).softmax(0))
    torch.testing.assert_close(slope[pos], -loss.detach() * (-2 * prob[pos]).softmax(0))


def test_logits_of_400_have_a_bounded_gradient():
    logits = torch.tensor([[[400.0], [-400.0], [390.0]]], dtype=torch.float64, requires_grad=True)
    loss = global_ranking_loss(logits, torch.tensor([[1, 0, 1]]), mining="none", score="logit")
    loss.backward()
    assert loss.item() == pytest.approx(800, abs=1e-3)
    assert logits.grad[0, [0, 2]].sum().item() == pytest.approx(1)
    assert logits.grad[0, 1].item() == pytest.approx(-1)


def test_ignored_candidates_are_not_background():
    logits, labels = torch.tensor([[[0.0], [3.0], [9.0]]]), torch.tensor([[0, 1, -1]])
    want = global_ranking_loss(logits[:, :2], labels[:, :2])
    torch.testing.assert_close(global_ranking_loss(logits, labels), want)


def test_other_objects_are_negatives_of_a_class_but_not_background():
    logits = torch.tensor([[[2.0, 1.0], [0.0, 1.5], [-1.0, -2.0]]])
    labels = torch.tensor([[0, 1, 2]])
    f = logits[0].sigmoid()
    z = torch.exp(torch.stack([f[2].max() - f[0, 0], f[2].max() - f[1, 1]]))
    torch.testing.assert_close(global_ranking_loss(logits, labels, mining="none"), (z * z).sum() / z.sum())
    total = 0
    for c, other in [(0, 1), (1, 0)]:
        z = torch.exp(torch.stack([f[2, c], f[other, c]]) - f[c, c])
        total += (z * z).sum() / z.sum()
    torch.testing.assert_close(class_ranking_loss(logits, labels, mining="none"), total)


def test_groups_share_their_gradient():
    """Members of a score group have the gradient of its mean, divided by their number."""
    prob = torch.tensor([0.1, 0.11, 0.12, 0.85, 0.9, 0.5], dtype=torch.float64, requires_grad=True)
    labels = torch.tensor([[1, 1, 1, 1, 1, 0]])
    global_ranking_loss(prob.logit().view(1, -1, 1), labels, groups=2).backward()
    torch.testing.assert_close(prob.grad[:3], prob.grad[:1].expand(3))
    torch.testing.assert_close(prob.grad[3:5], prob.grad[3:4].expand(2))
    assert 3 * prob.grad[0] < 2 * prob.grad[3]


def test_mining_focuses_the_gradient():
    """Unmined, the gradient is spread over nearly all negatives; both ways of mining put it on the hard ones."""
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(1, 20_000, 1, generator=generator, dtype=torch.float64) - 4
    labels = torch.ones(1, 20_000, dtype=torch.int64)
    labels[0, :20] = 0
    share = {}
    for mining in ("none", "ohem", "group"):
        prob = logits.sigmoid().requires_grad_()
        global_ranking_loss(prob.logit(), labels, mining=mining).backward()
        gradient = prob.grad[0, 20:, 0]
        share[mining] = (gradient.square().sum() / gradient.sum() ** 2 * gradient.numel()).item()
    assert share["none"] < 1.1
    assert min(share["ohem"], share["group"]) > 50


def test_virtual_positive_trains_on_background():
    logits, labels = torch.zeros(1, 4, 1, requires_grad=True), torch.ones(1, 4, dtype=torch.int64)
    loss = global_ranking_loss(logits, labels, empty="virtual")
    loss.backward()
    assert loss.item() == pytest.approx(math.exp(-0.5))
    assert (logits.grad > 0).all()
    with pytest.raises(ValueError, match="use score='prob'"):
        GlobalRankingLoss(empty="virtual", score="logit")


def test_iou_term_trains_the_box_of_the_higher_score_only():
    logits = torch.tensor([[[1.0], [-1.0]]], requires_grad=True)
    iou = torch.tensor([[0.3, 0.8]], requires_grad=True)
    labels = torch.zeros(1, 2, dtype=torch.int64)
    loss = iou_ranking_loss(logits, labels, iou=iou)
    loss.backward()
    rise = torch.tensor([1.0, -1.0]).sigmoid().diff().abs()
    assert loss.item() == pytest.approx(math.exp(0.5 * rise.item()))
    assert iou.grad[0, 0] < 0
    assert iou.grad[0, 1] == 0
    # The well-placed box's score rises, the other's falls.
    assert logits.grad[0, 1] < 0 < logits.grad[0, 0]


def test_iou_term_keeps_levels_and_classes_apart():
    problem = make_problem(1, images=1)
    merged = iou_ranking_loss(problem.logits, problem.labels, iou=problem.iou, pair_total="sum")
    total = 0
    for c in range(3):
        for k in range(2):
            labels = torch.where((problem.labels == c) & (problem.level == k), c, 3)
            total += iou_ranking_loss(problem.logits, labels, iou=problem.iou, pair_total="sum")
    apart = iou_ranking_loss(problem.logits, problem.labels, iou=problem.iou, level=problem.level, pair_total="sum")
    torch.testing.assert_close(apart, total)
    assert merged > apart


def test_iou_term_spans_its_blocks():
    """Pairs come in blocks of rows; many more objects than a block holds give the sum over all pairs."""
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(1, 700, 1, generator=generator, dtype=torch.float64, requires_grad=True)
    labels, iou = torch.zeros(1, 700, dtype=torch.int64), torch.rand(1, 700, generator=generator, dtype=torch.float64)
    got = iou_ranking_loss(logits, labels, iou=iou)
    f, s = logits.sigmoid()[0, :, 0], iou[0]
    pairs = torch.exp(-(f[:, None] - f) * (s[:, None] - s))
    want = (pairs.sum() - 700) / (700 * 699)
    torch.testing.assert_close(got, want, rtol=1e-12, atol=0)
    torch.testing.assert_close(*(torch.autograd.grad(x, logits)[0] for x in (got, want)), rtol=1e-10, atol=1e-16)
    best = f.topk(100).indices
    top = iou_ranking_loss(logits[:, best], labels[:, best], iou=iou[:, best])
    torch.testing.assert_close(iou_ranking_loss(logits, labels, iou=iou, max_positives=100), top)


def test_iou_is_asked_for():
    problem = make_problem(2)
    with pytest.raises(ValueError, match="iou_ranking_loss needs iou="):
        iou_ranking_loss(problem.logits, problem.labels)
    with pytest.raises(ValueError, match="rank_det_loss with iou_weight > 0 needs iou="):
        rank_det_loss(problem.logits, problem.labels)
    assert rank_det_loss(problem.logits, problem.labels, iou_weight=0).isfinite()


def test_unbounded_scores_need_the_exponential():
    with pytest.raises(ValueError, match="score='logit' needs surrogate='exp'"):
        GlobalRankingLoss(surrogate="logistic", score="logit")


@pytest.mark.parametrize("mining", ["none", "ohem", "group"])
@pytest.mark.parametrize("class_groups", [3, 15])
def test_sum_with_one_class(mining, class_groups):
    """Then the global and the class-specific term are the same, unless they group the scores differently."""
    problem = make_problem(6, classes=1)
    options = {"mining": mining, "class_groups": class_groups, "global_weight": 0.5, "class_weight": 2.0}
    got = rank_det_loss(problem.logits, problem.labels, iou=problem.iou, level=problem.level, **options)
    lists = (tensor.tolist() for tensor in (problem.logits, problem.labels, problem.iou, problem.level))
    assert got.item() == pytest.approx(oracles.rank_det(*lists, None, **options), rel=1e-12)
