"""Every loss against the contract: its oracle, its gradient, the edge cases, and what no loss may depend on."""

import inspect

import pytest
import torch
from torch import Tensor

from lidar_rank import losses
from tests.losses.problems import Problem, make_boxes, make_problem
from tests.losses.table import CLASSIFICATION, LOCALIZATION, Row
from tests.oracles.losses import Frozen


def rows(table: list[Row]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("row", table, ids=str)


classification = rows(CLASSIFICATION)
localization = rows(LOCALIZATION)
HALF = pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)


def call(row: Row, problem: Problem, **options) -> Tensor:
    return row.function(
        problem.logits, problem.labels, iou=problem.iou, level=problem.level, **{**row.options, **options}
    )


def expect(row: Row, problem: Problem, frozen: Frozen | None = None) -> float:
    return row.oracle(
        problem.logits.tolist(),
        problem.labels.tolist(),
        problem.iou.tolist(),
        problem.level.tolist(),
        frozen,
        **row.options,
    )


def gradient(row: Row, problem: Problem, **options) -> Tensor:
    problem.logits = problem.logits.detach().requires_grad_()
    call(row, problem, **options).sum().backward()
    return problem.logits.grad


def finite_difference(row: Row, problem: Problem, of: Tensor, step: float = 1e-6) -> Tensor:
    """Gradient of the oracle with respect to ``of``, one of the problem's tensors, its stopped weights frozen here."""
    frozen = Frozen(problem.logits.tolist(), problem.iou.tolist())
    result = torch.zeros_like(of)
    flat, flat_result = of.view(-1), result.view(-1)
    for i, value in enumerate(flat.tolist()):
        ends = []
        for shift in (step, -step):
            flat[i] = value + shift
            ends.append(expect(row, problem, frozen))
        flat[i] = value
        flat_result[i] = (ends[0] - ends[1]) / (2 * step)
    return result


def assert_close(got: Tensor, want: float | Tensor, tolerance: float = 1e-12) -> None:
    torch.testing.assert_close(got, torch.as_tensor(want, dtype=got.dtype), rtol=tolerance, atol=tolerance)


# --------------------------------------------------------------------------------------------------------- oracles


@classification
@pytest.mark.parametrize("seed", range(3))
def test_value_is_the_oracles(row, seed):
    problem = make_problem(seed)
    assert_close(call(row, problem), expect(row, problem))


@classification
def test_gradient_is_the_papers(row):
    problem = make_problem(3, candidates=14)
    if row.gradient:
        by_hand = row.gradient(problem.logits.tolist(), problem.labels.tolist(), **row.options)
        want = torch.tensor(by_hand, dtype=torch.float64)
    else:
        want = finite_difference(row, problem, problem.logits)
    assert want.abs().max() > 1e-3
    assert_close(gradient(row, problem), want, 1e-7)


@rows([row for row in CLASSIFICATION if row.iou_gradient])
def test_gradient_of_iou_is_the_papers(row):
    problem = make_problem(3, candidates=14)
    want = finite_difference(row, problem, problem.iou)
    assert want.abs().max() > 1e-4
    problem.iou.requires_grad_()
    call(row, problem).backward()
    assert_close(problem.iou.grad, want, 1e-7)


@rows([row for row in CLASSIFICATION if not row.iou_gradient])
def test_boxes_do_not_learn_through_weights(row):
    problem = make_problem(3)
    problem.logits.requires_grad_()
    problem.iou.requires_grad_()
    call(row, problem).backward()
    assert problem.iou.grad is None or (problem.iou.grad == 0).all()


@rows([row for row in CLASSIFICATION if row.exact_gradient])
def test_gradcheck(row):
    problem = make_problem(4, candidates=10)
    problem.logits.requires_grad_()
    assert torch.autograd.gradcheck(lambda _: call(row, problem), problem.logits)


@classification
def test_module_equals_function(row):
    problem = make_problem(5)
    module = row.module(loss_weight=3.0, **row.options)
    assert_close(module(problem.logits, problem.labels, iou=problem.iou, level=problem.level), 3 * call(row, problem))


# ------------------------------------------------------------------------------------------------------ edge cases


@classification
@pytest.mark.parametrize("label", [0, 2, 3], ids=["no negatives of a class", "one class", "no positives"])
def test_one_label_for_all(row, label):
    problem = make_problem(6)
    problem.labels.fill_(label)
    assert_close(call(row, problem), expect(row, problem))
    assert gradient(row, problem).isfinite().all()


@classification
def test_no_negatives_at_all(row):
    problem = make_problem(7, classes=1)
    problem.labels.fill_(0)
    assert_close(call(row, problem), expect(row, problem))
    assert gradient(row, problem).isfinite().all()


@classification
@pytest.mark.parametrize("shape", [(2, 0, 3), (0, 5, 3), (0, 0, 1)])
@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_empty_batch_is_zero_with_a_graph(row, shape, reduction):
    logits = torch.zeros(shape, requires_grad=True)
    labels = torch.zeros(shape[:2], dtype=torch.int64)
    iou, level = torch.zeros(shape[:2]), torch.zeros(shape[1], dtype=torch.int64)
    loss = row.function(logits, labels, iou=iou, level=level, **{**row.options, "reduction": reduction})
    loss.backward()
    assert loss.item() == 0
    assert logits.grad.shape == shape


@classification
def test_all_ignored_is_zero_with_a_graph(row):
    problem = make_problem(8)
    problem.labels.fill_(-1)
    assert call(row, problem).item() == 0
    assert (gradient(row, problem) == 0).all()


@classification
def test_single_positive(row):
    problem = make_problem(9)
    problem.labels[problem.labels < 3] = 3
    problem.labels[0, 5] = 1
    assert_close(call(row, problem), expect(row, problem))
    assert gradient(row, problem).isfinite().all()


@classification
def test_ties_share_the_gradient(row):
    problem = make_problem(10)
    problem.logits.fill_(0.3)
    problem.iou.fill_(0.7)
    assert_close(call(row, problem), expect(row, problem))
    grad = gradient(row, problem)
    assert grad.isfinite().all()
    for image in range(0 if row.cuts_ties else 2):
        for label in range(4):
            same = grad[image][(problem.labels[image] == label) & (problem.level == 0)]
            assert_close(same, same[:1].expand_as(same))


@classification
@HALF
def test_huge_half_precision_logits(row, dtype):
    problem = make_problem(11)
    problem.logits = torch.where(problem.logits > 0, 1e4, -1e4)
    problem = problem.to(dtype)
    loss = call(row, problem)
    assert loss.isfinite()
    assert loss.dtype == torch.float32
    assert gradient(row, problem).isfinite().all()


@classification
@pytest.mark.parametrize("scale", [0.0, 1e-30, 30.0, 1e4, 1e30])
def test_never_nan_from_finite_input(row, scale):
    for seed in range(3):
        problem = make_problem(seed)
        problem.logits *= scale
        problem = problem.to(torch.float32)
        assert not call(row, problem).isnan()
        assert not gradient(row, problem).isnan().any()


# ----------------------------------------------------------------------------------------- what must make no difference


@classification
def test_order_of_candidates_makes_no_difference(row):
    problem, order = make_problem(12), torch.randperm(24, generator=torch.Generator().manual_seed(0))
    moved = Problem(problem.logits[:, order], problem.labels[:, order], problem.iou[:, order], problem.level[order])
    assert_close(call(row, moved), call(row, problem))
    assert_close(gradient(row, moved), gradient(row, problem)[:, order])


@classification
def test_padding_makes_no_difference(row):
    problem, noise = make_problem(13), make_problem(14, candidates=9)
    padded = Problem(
        torch.cat([problem.logits, 5 * noise.logits], 1),
        torch.cat([problem.labels, torch.full_like(noise.labels, -1)], 1),
        torch.cat([problem.iou, noise.iou], 1),
        torch.cat([problem.level, noise.level]),
    )
    assert_close(call(row, padded), call(row, problem))
    grad = gradient(row, padded)
    assert_close(grad[:, :24], gradient(row, problem))
    assert (grad[:, 24:] == 0).all()


@rows([row for row in CLASSIFICATION if row.per_image])
def test_images_are_independent(row):
    problem = make_problem(15, images=3)
    together = call(row, problem, reduction="none")
    for image in range(3):
        one = slice(image, image + 1)
        alone = Problem(problem.logits[one], problem.labels[one], problem.iou[one], problem.level)
        assert_close(together[one], call(row, alone, reduction="none"))


@classification
def test_iou_is_read_at_positives_only(row):
    problem = make_problem(16)
    before = call(row, problem)
    problem.iou[problem.labels.lt(0) | problem.labels.eq(3)] = float("nan")
    assert_close(call(row, problem), before)


@classification
def test_autocast_changes_nothing(row):
    problem = make_problem(17).to(torch.float32)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        under = call(row, problem)
    assert_close(under, call(row, problem))


@classification
def test_runs_without_reading_a_value(row):
    """On the meta device there are no values: reading one, as .item() and boolean indexing do, raises."""
    problem = make_problem(18).to("meta")
    problem.logits.requires_grad_()
    call(row, problem).backward()
    assert problem.logits.grad.shape == (2, 24, 3)


@pytest.mark.gpu
@classification
def test_cuda_equals_cpu(row):
    problem = make_problem(19)
    want, want_gradient = call(row, problem), gradient(row, problem)
    problem.logits = problem.logits.detach()
    problem = problem.to("cuda")
    torch.cuda.set_sync_debug_mode("error")
    try:
        got, got_gradient = call(row, problem), gradient(row, problem)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert_close(got.cpu(), want.detach(), 1e-10)
    assert_close(got_gradient.cpu(), want_gradient, 1e-10)


# ------------------------------------------------------------------------------------------------------- bad input


@classification
def test_bad_input_is_refused_by_name(row):
    good = make_problem(20)
    wrong = [
        ("logits must be", {"logits": good.logits[0]}),
        ("logits must be", {"logits": good.labels[..., None]}),
        ("labels must be int64", {"labels": good.labels[:, 1:]}),
        ("labels must be int64", {"labels": good.labels.float()}),
        (r"labels must lie in \[-1, 3\].*got values from", {"labels": good.labels + 1}),
        (r"labels must lie in \[-1, 3\]", {"labels": good.labels - 1}),
        ("iou must be", {"iou": good.iou[0]}),
        ("level must be", {"level": good.level[1:]}),
        ("level must be", {"level": good.level.float()}),
    ]
    for message, changed in wrong:
        with pytest.raises(ValueError, match=message):
            call(row, Problem(**{**vars(good), **changed}))
    for value in (float("nan"), float("inf"), float("-inf")):
        bad = make_problem(20)
        bad.logits[1, 2, 0] = value
        with pytest.raises(ValueError, match=r"logits must be finite.*1 of 144 values"):
            call(row, bad)


@classification
def test_bad_options_fail_at_construction(row):
    with pytest.raises(TypeError, match=r"has no option.*reductoin.*it takes loss_weight"):
        row.module(reductoin="mean", **row.options)
    with pytest.raises(ValueError, match="reduction must be one of"):
        row.module(**{**row.options, "reduction": "avg"})
    with pytest.raises(ValueError, match="nonfinite must be one of"):
        row.module(nonfinite="ignore", **row.options)
    if "scope" in inspect.signature(row.function).parameters:
        with pytest.raises(ValueError, match=r"scope must be one of \('image', 'batch'\), got 'level'"):
            row.module(**{**row.options, "scope": "level"})


@classification
def test_nonfinite_candidates_are_dropped_and_counted(row):
    problem = make_problem(21)
    broken = problem.logits.clone()
    broken[0, 2, 1], broken[1, 4, 0] = float("nan"), float("inf")
    ignored = problem.labels.clone()
    ignored[0, 2], ignored[1, 4] = -1, -1
    module = row.module(nonfinite="drop", **row.options)
    broken.requires_grad_()
    loss = module(broken, problem.labels, iou=problem.iou, level=problem.level)
    loss.backward()
    assert_close(loss, row.function(problem.logits, ignored, iou=problem.iou, level=problem.level, **row.options))
    assert broken.grad.isfinite().all()
    assert module.dropped == 2


# ---------------------------------------------------------------------------------------------------- localization


@localization
@pytest.mark.parametrize("case", ["seed 0", "seed 1", "seed 2", "one positive", "ties"])
def test_localization_value_and_gradient(row, case):
    pred, target, iou = make_boxes(int(case[-1]) if "seed" in case else 3, positives=1 if "one" in case else 9)
    if case == "ties":  # every positive errs alike, in every dimension
        target = torch.zeros_like(target)
        pred, iou = target + 0.3, torch.full_like(iou, 0.6)

    def oracle(values: Tensor) -> float:
        frozen = Frozen(pred=pred.tolist())
        return row.oracle(values.tolist(), target.tolist(), iou.tolist(), frozen, **row.options)

    live = pred.clone().requires_grad_()
    loss = row.function(live, target, iou=iou, **row.options)
    loss.backward()
    assert_close(loss, oracle(pred), 1e-10)
    want = torch.zeros_like(pred)
    for i in range(pred.numel()):
        step = torch.zeros_like(pred)
        step.view(-1)[i] = 1e-6
        want.view(-1)[i] = (oracle(pred + step) - oracle(pred - step)) / 2e-6
    assert_close(live.grad, want, 1e-7)


@rows([row for row in LOCALIZATION if row.exact_gradient])
def test_localization_gradcheck(row):
    pred, target, iou = make_boxes(3)
    assert torch.autograd.gradcheck(lambda p: row.function(p, target, iou=iou, **row.options), pred.requires_grad_())


@localization
def test_localization_module_equals_function(row):
    pred, target, iou = make_boxes(4)
    options = {name: value for name, value in row.options.items() if name != "step"}
    want = row.function(pred, target, iou=iou, **options)
    assert_close(row.module(loss_weight=2.0, **options)(pred, target, iou=iou), 2 * want)


@localization
def test_localization_without_positives_is_zero_with_a_graph(row):
    for dimensions in (0, 7):
        pred = torch.zeros(0, dimensions, requires_grad=True)
        for reduction in ("mean", "sum"):
            loss = row.function(pred, pred.detach(), iou=torch.zeros(0), **{**row.options, "reduction": reduction})
            loss.backward()
            assert loss.item() == 0


@localization
@HALF
def test_localization_huge_half_precision(row, dtype):
    pred, target, iou = make_boxes(5)
    pred = (torch.where(pred > target, 1e4, -1e4)).to(dtype).requires_grad_()
    loss = row.function(pred, target.to(dtype), iou=iou.to(dtype), **row.options)
    loss.backward()
    assert loss.isfinite()
    assert loss.dtype == torch.float32
    assert pred.grad.isfinite().all()


@localization
@pytest.mark.parametrize("scale", [0.0, 1e-30, 1e30])
def test_localization_never_nan_from_finite_input(row, scale):
    pred, target, iou = make_boxes(6)
    pred = (scale * pred).float().requires_grad_()
    loss = row.function(pred, (scale * target).float(), iou=iou.float(), **row.options)
    loss.backward()
    assert not loss.isnan()
    assert not pred.grad.isnan().any()


@localization
def test_localization_order_and_reductions(row):
    pred, target, iou = make_boxes(7)
    order = torch.randperm(9, generator=torch.Generator().manual_seed(0))
    mean, total, rows = (
        row.function(pred, target, iou=iou, **{**row.options, "reduction": name}) for name in ("mean", "sum", "none")
    )
    assert rows.shape == (9,)
    assert_close(rows.sum(), total)
    moved = row.function(pred[order], target[order], iou=iou[order], **{**row.options, "reduction": "none"})
    assert_close(moved, rows[order])
    assert_close(mean, row.function(pred[order], target[order], iou=iou[order], **row.options))


@localization
def test_localization_autocast_changes_nothing(row):
    pred, target, iou = (tensor.float() for tensor in make_boxes(8))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        under = row.function(pred, target, iou=iou, **row.options)
    assert_close(under, row.function(pred, target, iou=iou, **row.options))


@localization
def test_localization_runs_without_reading_a_value(row):
    pred, target, iou = (tensor.to("meta") for tensor in make_boxes(9))
    row.function(pred.requires_grad_(), target, iou=iou, **row.options).backward()
    assert pred.grad.shape == (9, 7)


@localization
def test_localization_bad_input_is_refused_by_name(row):
    pred, target, iou = make_boxes(10)
    nan = pred.index_fill(0, torch.tensor([3]), float("nan"))
    for message, *inputs in [
        ("pred must be", pred[0], target, iou),
        ("target must be", pred, target[1:], iou),
        ("iou must be", pred, target, iou[1:]),
        ("pred must be finite", nan, target, iou),
        ("target must be finite", pred, nan, iou),
    ]:
        with pytest.raises(ValueError, match=message):
            row.function(inputs[0], inputs[1], iou=inputs[2], **row.options)
    options = {name: value for name, value in row.options.items() if name != "step"}
    with pytest.raises(ValueError, match="reduction must be one of"):
        row.module(**{**options, "reduction": "avg"})
    with pytest.raises(TypeError, match="has no option"):
        row.module(bata=1.0, **options)


# ---------------------------------------------------------------------------------------------------- completeness

# Not losses of their own: tested in test_flat.py and test_blend.py.
EXEMPT = {"FlatLoss", "BlendLoss"}


def test_every_public_loss_has_a_row():
    table = CLASSIFICATION + LOCALIZATION
    in_table = {row.function.__name__ for row in table} | {row.module.__name__ for row in table}
    public = {name for name in losses.__all__ if name.endswith(("_loss", "Loss"))}
    assert public - in_table - EXEMPT == set(), "add a row to tests/losses/table.py"
    assert in_table <= public, "add the name to lidar_rank/losses/__init__.py"
