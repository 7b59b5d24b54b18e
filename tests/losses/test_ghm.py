"""Claims of the GHM paper, and the faults of its public code that ours must not have."""

import pytest
import torch
from torch.nn import functional as F

from lidar_rank.losses import GHMCLoss, GHMRLoss, cross_entropy_loss, ghm_c_loss, ghm_r_loss
from lidar_rank.losses.ghm import exact_density
from tests.losses.problems import make_boxes, make_problem


def negatives(norms: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """One image of background candidates with these gradient norms."""
    return norms.logit().view(1, -1, 1), torch.ones(1, norms.numel(), dtype=torch.int64)


@pytest.mark.parametrize("density", ["unit", "exact"])
def test_uniform_norms_are_left_alone(density):
    """The paper's check: if g is uniform, every beta is 1 and the loss is cross entropy."""
    # 101 examples a region, and half a window reaches half-way between two of them.
    norms = (torch.arange(3030, dtype=torch.float64) + 0.5) / 3030
    problem = negatives(norms)
    torch.testing.assert_close(ghm_c_loss(*problem, density=density), cross_entropy_loss(*problem))


@pytest.mark.parametrize("bins", [1, 10, 30])
def test_exact_density_counts_every_window(bins):
    generator = torch.Generator().manual_seed(bins)
    norms = torch.rand(800, generator=generator, dtype=torch.float64)
    norms[::2] = (norms[::2] * 60).round() / 60  # ties, and points on the ends of windows
    kept = torch.rand(800, generator=generator) < 0.8
    got = exact_density(norms[:, None], kept[:, None], 1 / bins)[kept, 0]
    low, high = norms[kept, None] - 0.5 / bins, norms[kept, None] + 0.5 / bins
    count = ((norms[kept] >= low) & (norms[kept] < high)).sum(1)
    length = high.clamp(max=1) - low.clamp(min=0)
    assert torch.equal(got, count / length[:, 0])


def test_one_example_weighs_its_window():
    """N = 1: beta = l(g), at most the window's width."""
    logits, labels = negatives(torch.tensor([0.99], dtype=torch.float64))
    want = (0.5 / 10 + 0.01) * F.softplus(logits).squeeze()
    torch.testing.assert_close(ghm_c_loss(logits, labels, density="exact", bins=10), want)


def test_norm_counts_regions():
    """Three of thirty regions occupied: mmdet's weights ("valid") are ten times the paper's."""
    problem = negatives(torch.tensor([0.01, 0.5, 0.51, 0.99], dtype=torch.float64))
    paper, valid = (ghm_c_loss(*problem, norm=norm) for norm in ("paper", "valid"))
    torch.testing.assert_close(valid, 10 * paper)


def test_largest_norm_has_a_region():
    """g = 1, the hardest examples, in half precision and out of it."""
    for dtype in (torch.float16, torch.float64):
        logits, labels = torch.full((1, 2, 1), 1e4, dtype=dtype), torch.ones(1, 2, dtype=torch.int64)
        torch.testing.assert_close(ghm_c_loss(logits, labels).double().item(), 1e4 / 30, rtol=1e-3, atol=0)


def test_average_has_no_bias_at_its_start():
    """Identical batches give one loss from the first step on."""
    problem = make_problem(0)
    module = GHMCLoss()
    want = ghm_c_loss(problem.logits, problem.labels)
    for _ in range(6):
        torch.testing.assert_close(module(problem.logits, problem.labels), want, rtol=1e-6, atol=0)


def test_average_forgets_regions_that_stay_empty():
    full, empty = negatives(torch.full((8,), 0.5)), negatives(torch.full((8,), 0.1))
    module = GHMCLoss(momentum=0.75)
    module(*full)
    for _ in range(20):
        module(*empty)
    assert module.average.counts[15, 0].item() == pytest.approx(8 * 0.25 * 0.75**20, rel=1e-5)
    assert module.average.step == 21


def test_average_is_saved_and_rests_in_evaluation():
    problem, other = make_problem(1), make_problem(2)
    module = GHMCLoss()
    module(problem.logits, problem.labels)
    resumed = GHMCLoss()
    resumed.load_state_dict(module.state_dict())
    torch.testing.assert_close(resumed.eval()(other.logits, other.labels), module.eval()(other.logits, other.labels))
    assert resumed.average.step == 1


def test_module_cast_to_half_keeps_its_counts():
    logits = torch.full((1, 70_000, 1), -3.0)
    labels = torch.ones(1, 70_000, dtype=torch.int64)
    module = GHMCLoss().half()
    want = ghm_c_loss(logits.half(), labels)
    for _ in range(3):
        torch.testing.assert_close(module(logits.half(), labels), want)


def test_max_weight_bounds_beta():
    norms = torch.cat([torch.full((999,), 0.02), torch.tensor([0.9])]).double()
    logits, labels = negatives(norms)
    for density in ("unit", "exact"):
        problem = (logits.clone().requires_grad_(), labels)
        ghm_c_loss(*problem, density=density, max_weight=5.0).backward()
        beta = problem[0].grad.flatten() * 1000 / norms
        assert beta[999].item() == pytest.approx(5)
        assert beta[0].item() < 0.2


def test_dimensions_of_their_own():
    """Errors of one dimension do not change another's weights."""
    pred, target, _ = make_boxes(0, positives=40)
    live = pred.clone().requires_grad_()
    ghm_r_loss(live, target, dimensions=7).backward()
    pred[:, 3] = target[:, 3] + 5
    moved = pred.clone().requires_grad_()
    ghm_r_loss(moved, target, dimensions=7).backward()
    others = [0, 1, 2, 4, 5, 6]
    torch.testing.assert_close(moved.grad[:, others], live.grad[:, others])
    with pytest.raises(ValueError, match="dimensions must be 1 or pred's 7, got 3"):
        ghm_r_loss(pred, target, dimensions=3)


def test_regression_average():
    pred, target, _ = make_boxes(1)
    module = GHMRLoss(dimensions=7)
    assert module.average.counts.shape == (10, 7)
    want = ghm_r_loss(pred, target, dimensions=7)
    for _ in range(3):
        torch.testing.assert_close(module(pred, target), want, rtol=1e-6, atol=0)


@pytest.mark.parametrize("momentum", [0.0, 0.5, 0.9999])
def test_first_batch_counts_whole_for_every_momentum(momentum):
    problem = make_problem(3).to(torch.float32)
    want = ghm_c_loss(problem.logits, problem.labels)
    torch.testing.assert_close(GHMCLoss(momentum=momentum)(problem.logits, problem.labels), want, rtol=1e-4, atol=0)


def test_bad_options():
    for momentum in (1.0, -0.1, True, None, "0.7"):
        for module in (GHMCLoss, GHMRLoss):
            with pytest.raises(ValueError, match=r"momentum must .*, got "):
                module(momentum=momentum)
    with pytest.raises(ValueError, match="norm='valid' counts unit regions"):
        GHMCLoss(density="exact", norm="valid")
