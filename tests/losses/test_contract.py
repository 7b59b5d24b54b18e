"""Every loss against the contract: its oracle, its gradient, the edge cases, and what no loss may depend on."""

import copy
import importlib
import inspect
import math
import pkgutil

import pytest
import torch
from torch import Tensor

from lidar_rank import losses
from lidar_rank.losses import _pairs
from lidar_rank.losses._options import Option, options_of
from tests import reads
from tests.losses.problems import Problem, make_boxes, make_problem
from tests.losses.table import CLASSIFICATION, LOCALIZATION, Row
from tests.oracles.losses import Frozen


def rows(table: list[Row]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("row", table, ids=str)


classification = rows(CLASSIFICATION)
localization = rows(LOCALIZATION)
EITHER = rows(CLASSIFICATION + LOCALIZATION)
ONCE = rows(list({row.module: row for row in CLASSIFICATION + LOCALIZATION}.values()))
HALF = pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)


def inputs_of(row: Row) -> tuple[tuple[Tensor, ...], dict[str, Tensor]]:
    """Inputs of the row's function and module: those before the star and those after."""
    if row in LOCALIZATION:
        pred, target, iou = make_boxes(25)
        return (pred, target), {"iou": iou}
    problem = make_problem(25)
    return (problem.logits, problem.labels), {"iou": problem.iou, "level": problem.level}


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
        by_hand = row.gradient(problem.logits.tolist(), problem.labels.tolist(), problem.iou.tolist(), **row.options)
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
    module = row.make(loss_weight=3.0)
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
@pytest.mark.parametrize("scale", [0.0, 1e-30, 1e30])
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


@EITHER
@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.float64], ids=str)
def test_overlaps_may_have_another_precision(row, dtype):
    inputs, named = inputs_of(row)
    second = inputs[1].float() if inputs[1].is_floating_point() else inputs[1]
    iou = named["iou"].half()
    want = row.function(inputs[0].float(), second, **named | {"iou": iou.float()}, **row.options)
    got = row.function(inputs[0].float(), second, **named | {"iou": iou.to(dtype)}, **row.options)
    assert got.dtype == torch.float32
    assert_close(got, want, 1e-6)


@classification
def test_runs_without_reading_a_value(row):
    """On the meta device there are no values: reading one, as .item() and boolean indexing do, raises."""
    problem = make_problem(18).to("meta")
    problem.logits.requires_grad_()
    call(row, problem).backward()
    assert problem.logits.grad.shape == (2, 24, 3)


@classification
def test_way_of_a_gpu_reads_nothing_and_equals_the_cpus(row):
    problem = make_problem(19)
    want, want_gradient = call(row, problem), gradient(row, problem)
    with reads.recorded("cpu") as found:
        got, got_gradient = call(row, problem), gradient(row, problem)
    assert found == []
    assert_close(got, want, 1e-10)
    assert_close(got_gradient, want_gradient, 1e-10)


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
def test_nonfinite_candidates_are_dropped_and_counted(row):
    problem = make_problem(21)
    broken = problem.logits.clone()
    broken[0, 2, 1], broken[1, 4, 0] = float("nan"), float("inf")
    ignored = problem.labels.clone()
    ignored[0, 2], ignored[1, 4] = -1, -1
    module = row.make(nonfinite="drop")
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
    module = row.make(loss_weight=2.0)
    assert_close(module(pred, target, iou=iou), 2 * row.function(pred, target, iou=iou, **module.options))


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


# --------------------------------------------------------------------------------------------------------- options


def wrong_values(option: Option) -> list[object]:
    """Values that are no values of the option: of another type, beyond its limits, or unknown words."""
    wrong = ["nonsense", [1.0]]
    if option.kind is int:
        wrong += [True, 2.5, 2.0, math.nan]
    elif option.kind is float:
        wrong += [True, math.nan, math.inf, -math.inf]
    elif option.kind is bool:
        wrong += [0, 1.0]
    else:
        wrong += [True, 1]
    if option.kind in (int, float):
        wrong += [end + step for end, step in ((option.bounds.low, -1), (option.bounds.high, 1)) if math.isfinite(end)]
    return wrong if option.optional else [*wrong, None]


@ONCE
def test_every_option_refuses_a_wrong_value_in_the_function_and_at_construction(row):
    inputs, named = inputs_of(row)
    options = options_of(row.function)
    assert "reduction" in options
    for option in options.values():
        for value in wrong_values(option):
            for call in (lambda **kw: row.function(*inputs, **named, **row.options | kw), row.make):
                with pytest.raises(ValueError, match=rf"^{option.name} must .*, got "):
                    call(**{option.name: value})


@ONCE
def test_the_module_refuses_what_is_no_option(row):
    with pytest.raises(TypeError, match=r"has no option \['reductoin'\]; it takes .*loss_weight.*reduction"):
        row.make(reductoin="mean")
    for value in ("2", None, math.nan, -1.0):
        with pytest.raises(ValueError, match="loss_weight must"):
            row.make(loss_weight=value)
    if row in CLASSIFICATION:
        with pytest.raises(ValueError, match="nonfinite must be one of"):
            row.make(nonfinite="ignore")


@ONCE
def test_every_parameter_is_an_option_or_an_input(row):
    """An option without a readable annotation would not be checked."""
    inputs = {"logits", "labels", "pred", "target", "iou", "boxes", "level", "prior", "smooth", "balance", "step"}
    named = inspect.signature(row.function).parameters
    assert set(named) - set(options_of(row.function)) <= inputs


def edges(option: Option) -> list[object]:
    """Values at the limits of a number, and between 0 and 1, where the slope of a power is infinite at 0."""
    low, high = option.bounds.low, option.bounds.high
    if option.kind is int:
        return [end for end in (low, high) if math.isfinite(end)]
    return [value for value in (low, 0.5, high) if low <= value <= high] if option.kind is float else []


@EITHER
def test_gradients_are_finite_at_extreme_inputs_and_options(row):
    extremes = torch.tensor([0.0, 1e-30, 1e-3, 0.3, 30.0, 90.0, 200.0, 1e4])
    extremes = torch.cat([extremes, -extremes])
    inputs, named = inputs_of(row)
    choice = torch.randint(len(extremes), inputs[0].shape, generator=torch.Generator().manual_seed(0))
    for option in options_of(row.function).values():
        for value in edges(option):
            try:
                row.make(**{option.name: value})
            except ValueError:  # not beside the other options of the row
                continue
            live = [extremes[choice].requires_grad_(), named["iou"].float().requires_grad_()]
            second = torch.zeros_like(live[0]) if row in LOCALIZATION else inputs[1]
            options = {**row.options, option.name: value}
            loss = row.function(live[0], second, **named | {"iou": live[1]}, **options)
            loss.backward()
            assert loss.isfinite(), (options, loss)
            for tensor in live:
                assert tensor.grad is None or tensor.grad.isfinite().all(), options


# ------------------------------------------------------------------------------------------ transforms and devices


@EITHER
def test_torch_func_grad_is_the_gradient(row):
    """Twice, because the first call of a loss with state leaves something behind; it can be copied like any tensor."""
    inputs, named = inputs_of(row)
    plain, transformed = row.make(), row.make()
    for _ in range(2):
        live, iou = inputs[0].clone().requires_grad_(), named["iou"].clone().requires_grad_()
        plain(live, inputs[1], **named | {"iou": iou}).backward()
        gradients = torch.func.grad(
            lambda first, iou: transformed(first, inputs[1], **named | {"iou": iou}), argnums=(0, 1)
        )(inputs[0], named["iou"])
        assert_close(gradients[0], live.grad)
        assert_close(gradients[1], torch.zeros_like(iou) if iou.grad is None else iou.grad)
    for got, want in zip(copy.deepcopy(transformed).buffers(), plain.buffers(), strict=True):
        assert_close(got, want)


def test_torch_func_grad_counts_what_is_dropped():
    problem = make_problem(26)
    problem.logits[0, 3, 1] = math.nan
    module = losses.DRLoss(nonfinite="drop")
    for _ in range(2):
        gradient = torch.func.grad(lambda logits: module(logits, problem.labels))(problem.logits)
        assert gradient.isfinite().all()
    assert module.dropped == 2


@pytest.fixture(scope="session")
def lazy_device() -> str:
    """The one device of torch beside the CPU that every machine has."""
    pytest.importorskip("torch._lazy.ts_backend").init()  # can be done once in a process
    return "lazy"


@pytest.fixture
def other_device(lazy_device: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """A device that is neither a CPU nor CUDA, without what others lack: queued assertions, and float64."""
    double = Tensor.double

    def no_assertion(*_: object) -> None:
        raise NotImplementedError("Could not run 'aten::_assert_async.msg' with arguments from this backend")

    def no_double(values: Tensor) -> Tensor:
        if values.device.type == lazy_device:
            raise TypeError("Cannot convert a tensor of this backend to float64")
        return double(values)

    monkeypatch.setattr(torch, "_assert_async", no_assertion)
    monkeypatch.setattr(Tensor, "double", no_double)
    monkeypatch.setattr(_pairs, "WITHOUT_FLOAT64", (lazy_device,))
    return lazy_device


@EITHER
def test_other_devices_equal_the_cpu(row, other_device):
    inputs, named = inputs_of(row)
    results = []
    for device in ("cpu", other_device):
        live, second = inputs[0].float().to(device).requires_grad_(), inputs[1].to(device)
        others = {name: tensor.to(device) for name, tensor in named.items()}
        loss = row.make().to(device)(live, second.float() if second.is_floating_point() else second, **others)
        loss.backward()
        results.append((loss.detach().cpu(), live.grad.cpu()))
    for got, want in zip(*reversed(results), strict=True):
        assert_close(got, want, 1e-5)


@ONCE
def test_other_devices_refuse_bad_values_by_name(row, other_device):
    inputs, named = inputs_of(row)
    broken = inputs[0].clone()
    broken.view(-1)[5] = math.nan
    others = {name: tensor.to(other_device) for name, tensor in named.items()}
    with pytest.raises(ValueError, match=r"must be finite.*; 1 of \d+ values are not"):
        row.function(broken.to(other_device), inputs[1].to(other_device), **others, **row.options)


# ---------------------------------------------------------------------------------------------------- completeness


def test_every_file_is_public():
    """A file of the package names what is public in it, and the package imports it."""
    for file in pkgutil.iter_modules(losses.__path__):
        if not file.name.startswith("_"):
            public = importlib.import_module(f"lidar_rank.losses.{file.name}").__all__
            missing = [name for name in public if name not in losses.__all__]
            assert not missing, f"add `from lidar_rank.losses.{file.name} import *` to lidar_rank/losses/__init__.py"


@pytest.mark.parametrize("module", losses.CLASSIFICATION_LOSSES + losses.LOCALIZATION_LOSSES)
def test_every_loss_is_public_as_function_and_module_and_has_a_row(module):
    assert module.__name__ in losses.__all__
    assert module.function.__name__ in losses.__all__, f"name it in __all__ of {module.__module__}"
    table = CLASSIFICATION if module in losses.CLASSIFICATION_LOSSES else LOCALIZATION
    assert module in [row.module for row in table], "add a row to tests/losses/table.py"
