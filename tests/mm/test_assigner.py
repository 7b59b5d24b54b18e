"""Our assigner against mmdet3d's, through the head that uses it."""

from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest
import torch
from mmdet3d.registry import MODELS
from mmdet3d.registry import TASK_UTILS as HOST_TASK_UTILS
from mmdet3d.structures import LiDARInstance3DBoxes
from mmengine.config import Config, ConfigDict
from mmengine.registry import init_default_scope
from mmengine.structures import InstanceData
from torch import nn

from lidar_rank.assign import AnchorIndex, assign_anchors
from lidar_rank.kitti import read_calibration, read_kitti_labels
from lidar_rank.mm.assigner import AnchorAssigner
from tests import reads

from .conftest import CONFIGS

MAP = (200, 176)  # rows and columns of the full-size detector
SIZES_M = np.array([[0.8, 0.6, 1.73], [1.76, 0.6, 1.73], [3.9, 1.6, 1.56]])
CAR = {"pos_iou_thr": 0.6, "neg_iou_thr": 0.45, "min_pos_iou": 0.45}


def hosts_twin(assigner: ConfigDict) -> ConfigDict:
    thresholds = {name: assigner[name] for name in CAR}
    return ConfigDict(type="Max3DIoUAssigner", iou_calculator={"type": "BboxOverlapsNearest3D"}, **thresholds)


@pytest.fixture(scope="module", params=["second_kitti-car", "second_kitti-3class"])
def heads(request) -> tuple[nn.Module, nn.Module]:
    """The head of a full-size config, with our assigner and with the host's."""
    config = Config.fromfile(CONFIGS / "second" / f"{request.param}.py")
    init_default_scope(config.default_scope)
    model = config.model
    ours = model.train_cfg.assigner
    theirs = [hosts_twin(one) for one in ours] if isinstance(ours, list) else hosts_twin(ours)
    build = [
        MODELS.build(model.bbox_head | {"train_cfg": model.train_cfg | {"assigner": one}}) for one in (ours, theirs)
    ]
    return build[0], build[1]


def targets(head: nn.Module, boxes: np.ndarray, labels: np.ndarray, device: str) -> tuple:
    scores = [torch.zeros(1, 1, 1, 1, device=device).expand(1, head.cls_out_channels, *MAP)]
    objects = InstanceData(
        bboxes_3d=LiDARInstance3DBoxes(torch.from_numpy(boxes).to(device)),
        labels_3d=torch.from_numpy(labels).to(device),
    )
    return head._targets(scores, [objects], [{}], None)


def assert_equal_targets(
    heads: tuple[nn.Module, nn.Module], boxes: np.ndarray, labels: np.ndarray, device: str
) -> set[int]:
    ours, theirs = heads
    boxes = boxes.astype(np.float32)
    want = targets(theirs, boxes, labels, device)
    results = [targets(ours, boxes, labels, device)]
    with reads.on_device(device):
        results.append(targets(ours, boxes, labels, device))
    for got in results:
        for one, other in zip(got, want, strict=True):
            torch.testing.assert_close(one, other, rtol=0, atol=0)
    return set(want[1].unique().tolist())


@pytest.mark.parametrize("device", reads.DEVICES)
def test_head_gets_the_hosts_targets_on_random_scenes(heads, device):
    classes, seen = heads[0].num_classes, set()
    rng = np.random.default_rng(0)
    for number in (0, 1, 5, 20, 60):
        labels = rng.integers(0, classes, number)
        sizes_m = SIZES_M[labels if classes == 3 else labels + 2] * rng.uniform(0.8, 1.25, (number, 3))
        centres_m = rng.uniform([-2, -42, -2.5], [72, 42, 0], (number, 3))
        boxes = np.hstack([centres_m, sizes_m, rng.uniform(-7, 7, (number, 1))])
        seen |= assert_equal_targets(heads, boxes, labels, device)
    assert seen == {-1, *range(classes), classes}


@pytest.mark.real
@pytest.mark.parametrize("device", reads.DEVICES)
def test_head_gets_the_hosts_targets_on_real_frames(heads, kitti_root: Path, device):
    training = kitti_root / "training"
    names = ["Pedestrian", "Cyclist", "Car"][-heads[0].num_classes :]
    # Every third: tests/assign compares the core on all of them.
    frames, found = sorted(path.stem for path in (training / "velodyne").glob("*.bin"))[::3], set()
    assert len(frames) == 28
    for frame in frames:
        objects = read_kitti_labels(training / "label_2", [frame]).frame(0)
        kept = np.isin(objects.name, names)
        calibration = read_calibration(training / "calib" / f"{frame}.txt")
        boxes = calibration.camera_boxes_to_lidar(objects.location_m, objects.size_m, objects.yaw_rad)[kept]
        labels = np.array([names.index(name) for name in objects.name[kept]], np.int64)
        found |= assert_equal_targets(heads, boxes, labels, device)
    assert found == {-1, *range(len(names)), len(names)}


@pytest.mark.parametrize("way", ["kernels", *reads.DEVICES])
@pytest.mark.parametrize("overlap", ["nearest_bev", "rotated_bev", "3d"])
def test_result_is_that_of_the_core_in_the_hosts_words(overlap, way):
    anchors = torch.tensor([[x, 0.0, 0, 4, 2, 1.5, 0] for x in (0, 1.4, 2.8, 20)])
    objects = torch.tensor([[20.1, 0, 0.1, 4, 2, 1.5, 0.1], [0.2, 0, 0.1, 4, 2, 1.5, 0.1]])
    assigner = HOST_TASK_UTILS.build({"type": "lidar_rank.AnchorAssigner", "overlap": overlap, **CAR})
    device = "cpu" if way == "kernels" else way
    priors = InstanceData(priors=anchors.to(device))
    instances = InstanceData(bboxes_3d=objects.to(device), labels_3d=torch.tensor([5, 7]).to(device))
    with nullcontext([]) if way == "kernels" else reads.recorded(device) as found:
        result = assigner.assign(priors, instances)
    assert found == []
    core = assign_anchors(AnchorIndex(anchors, overlap), objects, [0, 0], num_classes=1, **CAR)
    assert result.gt_inds.tolist() == [2, -1, 0, 1]
    assert result.labels.tolist() == [7, -1, -1, 5]
    assert result.num_gts == 2
    np.testing.assert_allclose(result.max_overlaps.cpu().numpy(), core.overlap, rtol=1e-6)


def test_index_is_built_once_per_anchor_set_and_anew_for_another(monkeypatch):
    built = []
    original = AnchorIndex.__init__

    def counting(self, anchors, overlap="nearest_bev"):
        built.append(len(anchors))
        original(self, anchors, overlap)

    monkeypatch.setattr(AnchorIndex, "__init__", counting)
    assigner = AnchorAssigner(**CAR)
    anchors = torch.tensor([[0, 0.0, 0, 4, 2, 1.5, 0], [9, 0, 0, 4, 2, 1.5, 0]])
    objects = InstanceData(bboxes_3d=anchors[1:].clone(), labels_3d=torch.tensor([0]))
    for _ in range(3):  # the host makes its anchors anew for every batch
        assert assigner.assign(InstanceData(priors=anchors.clone()), objects).gt_inds.tolist() == [0, 1]
    assert assigner.assign(InstanceData(priors=anchors.flip(0)), objects).gt_inds.tolist() == [1, 0]
    assert built == [0, 2, 2]
