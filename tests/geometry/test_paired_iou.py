"""Paired rotated IoU against Shapely, the numba kernel, closed forms and finite differences."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.testing import assert_close

from lidar_rank.geometry import paired_iou_3d, paired_iou_bev, pairwise_iou_3d, pairwise_iou_bev
from tests.oracles import rotated_iou as oracle

TOLERANCE = {torch.float64: 1e-12, torch.float32: 2e-6}
BOTH_DTYPES = pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["float32", "float64"])


def random_bev(count, seed):
    rng = np.random.default_rng(seed)
    xy, sizes = rng.uniform(-3, 3, (count, 2)), rng.uniform(0.3, 5, (count, 2))
    return np.column_stack([xy, sizes, rng.uniform(-7, 7, count)])


def random_3d(count, seed):
    rng = np.random.default_rng(seed + 1000)
    bev = random_bev(count, seed)
    return np.insert(np.insert(bev, 2, rng.uniform(-1, 1, count), 1), 5, rng.uniform(0.5, 2, count), 1)


def tensors(*boxes, dtype=torch.float64):
    return [torch.tensor(b, dtype=dtype) for b in boxes]


def close(actual, expected, atol):
    np.testing.assert_allclose(actual.numpy(), expected, atol=atol, rtol=0)


def gradients(function, a, b):
    a, b = a.clone().requires_grad_(), b.clone().requires_grad_()
    return torch.autograd.grad(function(a, b).sum(), (a, b))


def numerical_gradients(function, a, b, step):
    """Central differences, one column of all rows at a time: a row of the result depends on its own boxes only."""
    result = [torch.zeros_like(a), torch.zeros_like(b)]
    for side in range(2):
        for column in range(a.shape[1]):
            up, down = [a.clone(), b.clone()], [a.clone(), b.clone()]
            up[side][:, column] += step
            down[side][:, column] -= step
            result[side][:, column] = (function(*up) - function(*down)) / (2 * step)
    return result


@BOTH_DTYPES
@pytest.mark.parametrize("shift_m", [0.0, 5000.0])
def test_equals_shapely_on_random_pairs(dtype, shift_m):
    shift = np.array([shift_m, -shift_m, 0, 0, 0])
    a, b = tensors(random_bev(3000, 0) + shift, random_bev(3000, 1) + shift, dtype=dtype)
    expected = oracle.paired_iou_bev(a.double().numpy(), b.double().numpy())
    assert (expected == 0).sum() > 300
    assert (expected > 0.3).sum() > 100
    close(paired_iou_bev(a, b), expected, TOLERANCE[dtype])


@BOTH_DTYPES
def test_3d_equals_shapely_times_height_on_random_pairs(dtype):
    a, b = tensors(random_3d(3000, 0), random_3d(3000, 1), dtype=dtype)
    expected = oracle.paired_iou_3d(a.double().numpy(), b.double().numpy())
    close(paired_iou_3d(a, b), expected, TOLERANCE[dtype])


def test_equals_the_pairwise_kernel():
    a, b = random_3d(200, 2), random_3d(200, 3)
    bev = [0, 1, 3, 4, 6]
    close(paired_iou_3d(*tensors(a, b)), np.diag(pairwise_iou_3d(a, b)), 1e-12)
    a, b = a[:, bev], b[:, bev]
    close(paired_iou_bev(*tensors(a, b)), np.diag(pairwise_iou_bev(a, b)), 1e-12)


# A coarse lattice makes coincident, collinear and touching edges, shared corners and containment the normal case.
lattice_box = st.tuples(
    st.sampled_from([-2.0, -1.0, -0.5, 0.0, 0.5, 1.0, 2.0]),
    st.sampled_from([-2.0, -1.0, -0.5, 0.0, 0.5, 1.0, 2.0]),
    st.sampled_from([0.05, 1.0, 2.0, 4.0, 20.0]),
    st.sampled_from([0.05, 1.0, 2.0, 4.0, 20.0]),
    st.sampled_from([0.0, 1e-7, 1e-4, math.pi / 4, math.pi / 2, 1.57, math.pi, -math.pi / 2, 40 * math.pi, 0.3]),
)


@settings(max_examples=400, deadline=None, derandomize=True)
@given(st.lists(st.tuples(lattice_box, lattice_box), min_size=1, max_size=8), st.sampled_from(list(TOLERANCE)))
def test_equals_shapely_and_stays_finite_on_adversarial_pairs(pairs, dtype):
    a, b = tensors(*np.array(pairs).transpose(1, 0, 2), dtype=dtype)
    expected = oracle.paired_iou_bev(a.double().numpy(), b.double().numpy())
    iou = paired_iou_bev(a, b)
    close(iou, expected, 20 * TOLERANCE[dtype])
    assert ((iou >= 0) & (iou <= 1)).all()
    assert all(g.isfinite().all() for g in gradients(paired_iou_bev, a, b))


def test_hand_computed_pairs():
    a = [0, 0, 2, 2, 0]
    cases = [
        ([1, 0, 2, 2, 0], 2 / 6),  # half of each
        ([2, 0, 2, 2, 0], 0.0),  # a common edge
        ([2, 2, 2, 2, 0], 0.0),  # a common corner
        ([0, 0, 1, 1, 0.4], 1 / 4),  # contained
        ([0, 0, 4, 1, math.pi / 2], 2 / 6),  # a cross
        ([0, 0, 2, 2, math.pi / 4], 8 * (math.sqrt(2) - 1) / (8 - 8 * (math.sqrt(2) - 1))),  # an octagon
        ([0, 0, 2, 2, math.pi / 2], 1.0),
        ([0, 0, 2, 2, 100 * math.pi], 1.0),
        ([0, 0, 2, 0, 0], 0.0),  # no area
    ]
    b, expected = tensors([box for box, _ in cases], [iou for _, iou in cases])
    assert_close(paired_iou_bev(torch.tensor([a] * len(cases), dtype=torch.float64), b), expected, atol=1e-14, rtol=0)


def test_3d_closed_form_of_stacked_boxes():
    base = torch.tensor([[1.0, 2.0, 0.0, 4.0, 2.0, 1.5, 0.7]], dtype=torch.float64)
    rise = torch.tensor([0.0, 0.5, 1.5, 2.0, -1.0], dtype=torch.float64)
    raised = base.repeat(5, 1)
    raised[:, 2] = rise
    shared = (1.5 - rise.abs()).clamp(min=0)
    assert_close(paired_iou_3d(raised, base.repeat(5, 1)), shared / (3 - shared), atol=1e-14, rtol=0)


@BOTH_DTYPES
@pytest.mark.parametrize(("function", "boxes"), [(paired_iou_bev, random_bev), (paired_iou_3d, random_3d)])
def test_identical_boxes_give_exactly_one_and_no_gradient(function, boxes, dtype):
    a = torch.tensor(boxes(2000, 4), dtype=dtype)
    a[:1000, :2] += 7000
    a[::3, -1] += 60
    assert (function(a, a.clone()) == 1).all()
    for gradient in gradients(function, a, a.clone()):
        assert gradient.abs().max() < 1e-5


@pytest.mark.parametrize(("function", "boxes"), [(paired_iou_bev, random_bev), (paired_iou_3d, random_3d)])
def test_gradient_is_the_numerical_one(function, boxes):
    a, b = tensors(boxes(3000, 5), boxes(3000, 6))
    numerical = numerical_gradients(function, a, b, step=1e-6)
    assert numerical[0].abs().max() > 0.5
    assert_close(list(gradients(function, a, b)), numerical, atol=1e-6, rtol=1e-5)


def test_gradient_on_common_edges_is_the_mean_of_both_sides():
    """Central differences across the kink: boxes on one lane, one inside the other, and side by side."""
    a = torch.tensor([[0.5, 0, 4, 2, 0], [0, 0.5, 2, 1, 0], [2, 0, 2, 2, 0]], dtype=torch.float64)
    b = torch.tensor([[0, 0, 4, 2, 0], [0, 0, 2, 2, 0], [0, 0, 2, 2, 0]], dtype=torch.float64)
    exact, numerical = gradients(paired_iou_bev, a, b), numerical_gradients(paired_iou_bev, a, b, step=1e-7)
    assert_close(list(exact), numerical, atol=1e-6, rtol=0)


def test_float32_gradient_is_close_to_that_of_float64():
    a, b = random_3d(2000, 7), random_3d(2000, 8)
    single = gradients(paired_iou_3d, *tensors(a, b, dtype=torch.float32))
    double = gradients(paired_iou_3d, *(t.double() for t in tensors(a, b, dtype=torch.float32)))
    for narrow, wide in zip(single, double, strict=True):
        assert wide.abs().max() > 0.5
        assert_close(narrow.double(), wide, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("noise", [1e-12, 1e-9, 1e-7, 1e-5, 1e-3])
def test_gradient_stays_bounded_next_to_the_kink(noise):
    """A box of length l and width w that moves one way loses at most its diagonal: 2 sqrt(l^2 + w^2) / (l w)."""
    a = random_bev(2000, 9)
    bound = 2 * np.hypot(a[:, 2], a[:, 3]) / (a[:, 2] * a[:, 3])
    b = a + np.random.default_rng(0).normal(0, noise, a.shape)
    for dtype in TOLERANCE:
        for gradient in gradients(paired_iou_bev, *tensors(a, b, dtype=dtype)):
            assert (gradient[:, :4].abs().amax(-1).numpy() < 1.02 * bound).all()


@BOTH_DTYPES
@pytest.mark.parametrize("turn_rad", [0.0, 1e-9, 1e-7, 1e-5, 1e-3])
def test_gradient_of_a_contained_box_does_not_depend_on_a_tiny_turn(dtype, turn_rad):
    """The overlap is the ratio of the areas: almost parallel edges outside the smaller box must not add noise."""
    outer = torch.tensor([[0, 0, 6, 4, 0], [0, 0, 40, 30, 0]], dtype=dtype)
    inner = torch.tensor([[0.5, 0.25, 2, 1, turn_rad], [0.5, 0.25, 2, 1, turn_rad]], dtype=dtype)
    area = outer[:, 2] * outer[:, 3]
    zero = torch.zeros_like(area)
    of_inner = torch.stack([zero, zero, inner[:, 3] / area, inner[:, 2] / area, zero], 1)
    of_outer = torch.stack([zero, zero, -2 / area / outer[:, 2], -2 / area / outer[:, 3], zero], 1)
    assert_close(list(gradients(paired_iou_bev, inner, outer)), [of_inner, of_outer], atol=1e-6, rtol=1e-5)
    assert_close(list(gradients(paired_iou_bev, outer, inner)), [of_outer, of_inner], atol=1e-6, rtol=1e-5)


@BOTH_DTYPES
def test_boxes_beside_each_other_give_exactly_zero(dtype):
    a = torch.tensor(random_bev(2000, 17), dtype=dtype)
    beside = torch.tensor([[9.0, 0, 0, 0, 0]], dtype=dtype)
    straight = a * torch.tensor([1, 1, 1, 1, 0], dtype=dtype)
    for b in (straight + beside, straight - beside, straight + beside.roll(1, -1), straight - beside.roll(1, -1)):
        assert (paired_iou_bev(a, b) == 0).all()


def test_ascent_on_the_overlap_finds_the_object():
    objects = torch.tensor(random_3d(64, 10), dtype=torch.float32)
    rng = torch.Generator().manual_seed(0)
    boxes = objects + 0.2 * torch.randn(objects.shape, generator=rng)
    boxes[:, 3:6] = boxes[:, 3:6].clamp(min=0.3)
    before = paired_iou_3d(boxes, objects)
    boxes.requires_grad_()
    optimizer = torch.optim.Adam([boxes], lr=0.02)
    for step in range(300):
        optimizer.param_groups[0]["lr"] = 0.02 * (1 - step / 300)
        optimizer.zero_grad()
        (1 - paired_iou_3d(boxes, objects)).sum().backward()
        optimizer.step()
    assert before.mean() < 0.6
    assert paired_iou_3d(boxes, objects).min() > 0.97


@BOTH_DTYPES
def test_boxes_without_size_overlap_nothing_and_keep_the_gradient_finite(dtype):
    sizes = torch.tensor([[0.0, 0.0], [0.0, 2.0], [-2.0, -2.0], [1e-30, 1e-30], [1e-12, 3.0]], dtype=dtype)
    a = torch.cat([torch.zeros(5, 2, dtype=dtype), sizes, torch.zeros(5, 1, dtype=dtype)], 1)
    for b in (a, a.roll(1, 0), torch.tensor([[0.1, 0, 4, 2, 0.3]], dtype=dtype).repeat(5, 1)):
        assert_close(paired_iou_bev(a, b)[:3], torch.zeros(3, dtype=dtype))
        assert all(g.isfinite().all() for g in gradients(paired_iou_bev, a, b))


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf, 1e30])
@pytest.mark.parametrize("column", range(7))
def test_a_bad_row_gives_zero_and_leaves_the_others_alone(bad, column):
    a, b = tensors(random_3d(3, 11), random_3d(3, 11) + 0.1, dtype=torch.float32)
    clean_iou, clean_gradients = paired_iou_3d(a, b), gradients(paired_iou_3d, a, b)
    a[1, column] = bad
    assert_close(paired_iou_3d(a, b), clean_iou * torch.tensor([1, 0, 1]))
    for gradient, clean in zip(gradients(paired_iou_3d, a, b), clean_gradients, strict=True):
        assert_close(gradient, clean * torch.tensor([[1], [0], [1]]))


def test_huge_and_tiny_boxes_stay_finite():
    rng = np.random.default_rng(12)
    signs = rng.choice([-1, 1], (2, 3000, 7))
    a, b = tensors(*(signs * 10 ** rng.uniform(-20, 8.9, (2, 3000, 7))), dtype=torch.float32)
    for boxes in (a, b):
        boxes[:, 3:6].abs_()
    iou = paired_iou_3d(a, b)
    assert ((iou >= 0) & (iou <= 1)).all()
    assert all(not g.isnan().any() for g in gradients(paired_iou_3d, a, b))


@pytest.mark.parametrize(("function", "boxes"), [(paired_iou_bev, random_bev), (paired_iou_3d, random_3d)])
def test_no_boxes_give_an_empty_result_with_a_graph(function, boxes):
    a, b = tensors(boxes(0, 0), boxes(0, 0))
    assert function(a, b).shape == (0,)
    assert [g.shape for g in gradients(function, a, b)] == [a.shape, b.shape]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_widened(dtype):
    a, b = tensors(random_bev(50, 13), random_bev(50, 14), dtype=dtype)
    with torch.autocast("cpu", torch.bfloat16):
        iou = paired_iou_bev(a, b)
    assert iou.dtype == torch.float32
    assert_close(iou, paired_iou_bev(a.float(), b.float()))


def test_no_value_is_read_from_the_device():
    """The meta device has no values: reading one, or branching on one, would raise."""
    boxes = torch.empty(9, 7, device="meta", requires_grad=True)
    iou = paired_iou_3d(boxes, boxes)
    iou.sum().backward()
    assert iou.shape == (9,)
    assert boxes.grad.shape == (9, 7)


@pytest.mark.gpu
def test_gpu_equals_cpu():
    a, b = tensors(random_3d(2000, 15), random_3d(2000, 16), dtype=torch.float32)
    assert_close(paired_iou_3d(a.cuda(), b.cuda()).cpu(), paired_iou_3d(a, b), atol=1e-6, rtol=0)
    for on_gpu, on_cpu in zip(
        gradients(paired_iou_3d, a.cuda(), b.cuda()), gradients(paired_iou_3d, a, b), strict=True
    ):
        assert_close(on_gpu.cpu(), on_cpu, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("shape", [(3, 7), (4, 5), (5,)])
def test_shapes_that_do_not_pair_are_named(shape):
    with pytest.raises(ValueError, match=r"both be \(N, 5\), got \(3, 5\)"):
        paired_iou_bev(torch.zeros(3, 5), torch.zeros(shape))
