"""Our operators against recorded answers of mmcv's compiled ones, and what no compiled code for CPUs can answer."""

from pathlib import Path

import numpy as np
import pytest
import torch
from mmdet.models.losses.focal_loss import py_sigmoid_focal_loss
from numpy import ndarray

from lidar_rank.geometry import pairwise_iou_bev
from lidar_rank.mm.ops import OwnOperators, dispatch
from lidar_rank.mm.ops.boxes import sound_rectangles

from .cases import Case, call
from .record import load

ANSWERED = list(load(Path(__file__).parent / "mmcv_answers.npz"))
OWN = OwnOperators()
EVERY_CASE = pytest.mark.parametrize(
    ("case", "answers"), ANSWERED, ids=[f"{case.operator}: {case.name}" for case, _ in ANSWERED]
)


def check_equal(case: Case, answers: dict[str, ndarray], got: dict[str, ndarray], atol: float) -> None:
    """The same numbers; where they are not whole, up to ``atol``."""
    for name, answer in answers.items():
        assert got[name].dtype == answer.dtype
        # mmcv computes rotated overlaps in float32, and float16 with a rounding after every step.
        tolerance = 2e-3 if answer.dtype == np.float16 else 1e-5 if case.operator == "box_iou_rotated" else atol
        np.testing.assert_allclose(got[name], answer, rtol=tolerance, atol=tolerance, err_msg=name)


def depends_on_the_device(case: Case) -> bool:
    """Whether mmcv's operators for CPUs and GPUs differ: an overlap is the threshold, to float32."""
    if case.operator != "nms_rotated":
        return False
    boxes = sound_rectangles(torch.from_numpy(case.arrays["dets"])).numpy()
    overlaps = pairwise_iou_bev(boxes, boxes)
    return bool((abs(overlaps - case.settings["iou_threshold"]) < 1e-6).any())


@EVERY_CASE
def test_kernels_answer_as_mmcv_does(case, answers):
    check_equal(case, answers, call(OWN, case), atol=0)


@EVERY_CASE
def test_plain_torch_answers_as_mmcv_does(case, answers, monkeypatch):
    monkeypatch.setattr(dispatch, "uses_numba", lambda _: False)
    if case.settings.get("pool_mode") == 0:
        with pytest.raises(NotImplementedError, match="compiled mmcv"):
            call(OWN, case)
    elif not depends_on_the_device(case):
        check_equal(case, answers, call(OWN, case), atol=1e-5)


@pytest.mark.gpu
@EVERY_CASE
def test_gpu_answers_as_mmcv_does(case, answers):
    if case.settings.get("pool_mode") != 0 and not depends_on_the_device(case):
        check_equal(case, answers, call(OWN, case, device="cuda"), atol=1e-5)


def test_recorded_file_is_small_and_has_every_operator_with_code_for_cpus():
    assert (Path(__file__).parent / "mmcv_answers.npz").stat().st_size < 150_000
    assert {case.operator for case, _ in ANSWERED} == {
        "box_iou_rotated",
        "dynamic_voxelize",
        "hard_voxelize",
        "nms",
        "nms_rotated",
        "points_in_boxes_cpu",
        "roi_align",
    }


@pytest.mark.parametrize(("threshold", "kept"), [(0.5, [0]), (0.49, [0]), (0.51, [0, 1])])
def test_rotated_box_at_the_threshold_is_dropped_on_a_cpu_and_kept_elsewhere(threshold, kept, monkeypatch):
    dets = np.array([[0, 0, 2, 2, 0], [0, 0, 2, 1, 0]], "f")  # IoU 0.5
    case = Case("nms_rotated", "", {"dets": dets, "scores": np.array([2, 1], "f")}, {"iou_threshold": threshold})
    assert call(OWN, case)["kept"].tolist() == kept
    monkeypatch.setattr(dispatch, "uses_numba", lambda _: False)
    assert call(OWN, case)["kept"].tolist() == ([0, 1] if threshold == 0.5 else kept)


@pytest.mark.parametrize("torch_alone", [False, True])
def test_many_equal_scores_keep_the_order_of_tensor_sort(torch_alone, monkeypatch):
    if torch_alone:
        monkeypatch.setattr(dispatch, "uses_numba", lambda _: False)
    generator = torch.Generator().manual_seed(0)
    low = torch.rand(300, 2, generator=generator) * 50
    boxes = torch.cat([low, low + 5 + torch.rand(300, 2, generator=generator) * 20], dim=1)
    scores = torch.randint(3, (300,), generator=generator) / 3
    size = boxes[:, 2:] - boxes[:, :2]
    kept: list[int] = []
    for candidate in scores.sort(0, descending=True)[1].tolist():
        shared = torch.minimum(boxes[kept, 2:], boxes[candidate, 2:]) - torch.maximum(boxes[kept, :2], low[candidate])
        shared = shared.clamp(min=0).prod(1)
        if not (shared / (size[kept].prod(1) + size[candidate].prod() - shared) > 0.4).any():
            kept.append(candidate)
    assert OWN.nms(boxes, scores, iou_threshold=0.4, offset=0).tolist() == kept


@pytest.mark.parametrize("case", [case for case, _ in ANSWERED if case.operator == "points_in_boxes_cpu"], ids=str)
def test_operators_for_batches_find_the_points_of_the_one_for_cpus(case):
    inside = torch.from_numpy(call(OWN, case)["inside"])
    boxes, points = (torch.from_numpy(case.arrays[name]).repeat(2, 1, 1) for name in ("boxes", "points"))
    boxes[1, :, 0] += 100
    found = torch.zeros(2, points.shape[1], boxes.shape[1], dtype=torch.int)
    OWN.points_in_boxes_all_forward(boxes, points, found)
    assert found[0].equal(inside.T)
    assert not found[1].any()
    first = torch.full(points.shape[:2], -1, dtype=torch.int)
    OWN.points_in_boxes_part_forward(boxes, points, first)
    expected = [next((box for box, there in enumerate(column) if there), -1) for column in inside.T.tolist()]
    assert first[0].tolist() == expected
    assert (first[1] == -1).all()


@pytest.mark.parametrize(("gamma", "alpha"), [(2.0, 0.25), (1.5, 0.5), (0.0, 0.75)])
def test_focal_loss_is_that_of_the_host(gamma, alpha):
    logits = torch.linspace(-30, 30, 24).view(8, 3).requires_grad_()
    target = torch.tensor([0, 1, 2, 3, 3, 0, 1, 2])  # 3 is background
    expected = py_sigmoid_focal_loss(
        logits, torch.nn.functional.one_hot(target, 4)[:, :3], gamma=gamma, alpha=alpha, reduction="none"
    )
    output, grad = torch.zeros(8, 3), torch.zeros(8, 3)
    nothing = torch.empty(0)
    OWN.sigmoid_focal_loss_forward(logits, target, nothing, output, gamma=gamma, alpha=alpha)
    OWN.sigmoid_focal_loss_backward(logits, target, nothing, grad, gamma=gamma, alpha=alpha)
    torch.testing.assert_close(output, expected.detach(), rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(grad, torch.autograd.grad(expected.sum(), logits)[0], rtol=1e-4, atol=1e-6)


def roi_case(**changes) -> Case:
    rng = np.random.default_rng(0)
    arrays = {
        "features": rng.normal(size=(2, 3, 8, 8)).astype("f"),
        "rois": np.array([[0, 1, 1, 6, 6], [1, 0, 2, 5, 7]], "f"),
        "grad_output": rng.normal(size=(2, 3, 2, 2)).astype("f"),
    }
    settings = {"spatial_scale": 1.0, "sampling_ratio": 0, "pool_mode": 1, "aligned": True}
    return Case("roi_align", "", {**arrays, **changes}, settings)


@pytest.mark.parametrize("torch_alone", [False, True])
def test_memory_layout_of_features_does_not_matter(torch_alone, monkeypatch):
    expected = call(OWN, roi_case())["output"]
    if torch_alone:
        monkeypatch.setattr(dispatch, "uses_numba", lambda _: False)
    case = roi_case()
    features = torch.from_numpy(case.arrays["features"]).to(memory_format=torch.channels_last)
    output, nothing = torch.zeros(2, 3, 2, 2), torch.empty(0)
    rois = torch.from_numpy(case.arrays["rois"])
    OWN.roi_align_forward(features, rois, output, nothing, nothing, 2, 2, **case.settings)
    np.testing.assert_allclose(output, expected, atol=1e-6)


@pytest.mark.parametrize("torch_alone", [False, True])
def test_mixed_precision_does_not_round_the_interpolation(torch_alone, monkeypatch):
    expected = call(OWN, roi_case())
    if torch_alone:
        monkeypatch.setattr(dispatch, "uses_numba", lambda _: False)
    with torch.autocast("cpu"):
        got = call(OWN, roi_case())
    for name in ("output", "grad_features"):
        np.testing.assert_allclose(got[name], expected[name], atol=1e-6)


@pytest.mark.parametrize("roi", [[0, 1, np.nan, 6, 6], [0, 1, 1, np.inf, 6], [2, 1, 1, 6, 6], [-1, 1, 1, 6, 6]])
@pytest.mark.parametrize("torch_alone", [False, True])
def test_region_that_cannot_be_is_named(roi, torch_alone, monkeypatch):
    if torch_alone:
        monkeypatch.setattr(dispatch, "uses_numba", lambda _: False)
    with pytest.raises(ValueError, match=r"rois\[1\] is .*the row below 2"):
        call(OWN, roi_case(rois=np.array([[0, 1, 1, 6, 6], roi], "f")))


def test_region_that_ends_before_it_begins_stops_a_cpu_and_is_empty_elsewhere(monkeypatch):
    case = roi_case(rois=np.array([[0, 1, 1, 6, 6], [0, 5, 1, 3, 6]], "f"))
    with pytest.raises(ValueError, match=r"rois\[1\]"):
        call(OWN, case)
    monkeypatch.setattr(dispatch, "uses_numba", lambda _: False)
    assert not call(OWN, case)["output"][1].any()


def test_dtypes_that_mmcv_does_not_take_are_named():
    boxes = np.array([[0, 0, 1, 1]])
    case = Case("nms", "", {"boxes": boxes * 1.0, "scores": np.ones(1)}, {"iou_threshold": 0.5, "offset": 0})
    with pytest.raises(TypeError, match=r"nms takes tensors of torch.float32, got torch.float64"):
        call(OWN, case)
    with pytest.raises(TypeError, match=r"roi_align .* takes"):
        call(OWN, roi_case(rois=np.array([[0, 1, 1, 6, 6]] * 2, float)))


def test_weights_of_classes_are_refused():
    logits, target = torch.zeros(2, 3), torch.zeros(2, dtype=torch.long)
    with pytest.raises(NotImplementedError, match="weight=None"):
        OWN.sigmoid_focal_loss_forward(logits, target, torch.ones(3), torch.zeros(2, 3), gamma=2.0, alpha=0.25)


def test_other_operators_say_what_is_missing_when_they_are_called():
    operator = OWN.deform_conv_forward
    with pytest.raises(NotImplementedError, match=r"deform_conv_forward .*MMCV_WITH_OPS=1 pip install"):
        operator(torch.zeros(1), 3, name="x")
    with pytest.raises(AttributeError):
        OWN.__file__  # noqa: B018 - looking it up is the test
