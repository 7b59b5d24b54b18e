"""The host's stock data set, car pipeline and object sampler read what preparation writes."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lidar_rank.kitti.preparation import prepare_kitti
from tests.kitti.roots import IMAGE_SIZE, add_test_split, link_real_root, make_root

pytestmark = [pytest.mark.mm, pytest.mark.filterwarnings("ignore")]
LOAD = [
    {"type": "LoadPointsFromFile", "coord_type": "LIDAR", "load_dim": 4, "use_dim": 4},
    {"type": "LoadAnnotations3D", "with_bbox_3d": True, "with_label_3d": True},
]


@pytest.fixture(scope="module")
def real_root(kitti_root, tmp_path_factory):
    """The 83 real frames, prepared."""
    root = link_real_root(kitti_root, tmp_path_factory.mktemp("host") / "kitti")
    prepare_kitti(root, jobs=2, progress=False)
    return root


@pytest.fixture(autouse=True)
def host_scope(monkeypatch):
    """Make the host's names known; its sampler asks for an alias that numpy 1.24 to 1.26 do not have."""
    from mmengine.registry import DefaultScope

    monkeypatch.setattr(np, "long", np.int64, raising=False)
    with DefaultScope.overwrite_default_scope("mmdet3d"):
        yield


def build_dataset(root: Path, split: str, **options: Any):
    """The stock data set as the host's KITTI configs build it."""
    from mmdet3d.datasets import KittiDataset

    return KittiDataset(
        data_root=str(root),
        ann_file=f"kitti_infos_{split}.pkl",
        data_prefix={"pts": f"{'testing' if split == 'test' else 'training'}/velodyne_reduced"},
        **{"pipeline": LOAD, "metainfo": {"classes": ["Car"]}, **options},
    )


def stock_config(root: Path):
    """The host's own KITTI car config, with its data root replaced."""
    import mmdet3d
    from mmengine.config import Config

    path = Path(mmdet3d.__file__).parent / ".mim" / "configs" / "_base_" / "datasets" / "kitti-3d-car.py"
    return Config.fromstring(path.read_text().replace("data/kitti/", f"{root}/"), ".py")


def labelled_cars(root: Path, number: int) -> np.ndarray:
    """(x, y, z_bottom, length, width, height, yaw) of the cars of a label file, by matrices read here."""
    lines = (root / "training" / "calib" / f"{number:06d}.txt").read_text().splitlines()
    matrices = {line.split(":")[0]: np.array(line.split()[1:], dtype=float) for line in lines if line}
    to_camera = np.eye(4)
    to_camera[:3] = matrices["R0_rect"].reshape(3, 3) @ matrices["Tr_velo_to_cam"].reshape(3, 4)
    boxes = []
    for line in (root / "training" / "label_2" / f"{number:06d}.txt").read_text().splitlines():
        if line.startswith("Car "):
            height, width, length, x, y, z, yaw = map(float, line.split()[8:])
            center = np.linalg.solve(to_camera, [x, y, z, 1])[:3]
            boxes.append([*center, length, width, height, -yaw - np.pi / 2])
    return np.array(boxes).reshape(-1, 7)


@pytest.mark.real
@pytest.mark.parametrize(("split", "frames"), [("train", 61), ("val", 22)])
def test_stock_dataset_has_the_labelled_boxes_and_the_counted_points(real_root, split, frames):
    from mmdet3d.structures.ops.box_np_ops import points_in_rbbox

    dataset = build_dataset(real_root, split, filter_empty_gt=False)
    assert len(dataset) == frames
    cars = 0
    for index in range(frames):
        sample = dataset[index]
        expected = labelled_cars(real_root, int(Path(sample["lidar_path"]).stem))
        boxes = sample["gt_bboxes_3d"].tensor.numpy()
        np.testing.assert_allclose(boxes[:, :6], expected[:, :6], atol=1e-4)
        turn = (boxes[:, 6] - expected[:, 6] + np.pi) % (2 * np.pi) - np.pi
        np.testing.assert_allclose(turn, 0, atol=1e-5)
        counts = points_in_rbbox(sample["points"].numpy(), expected).sum(0)
        np.testing.assert_array_equal(counts, sample["ann_info"]["num_lidar_pts"])
        cars += len(boxes)
    assert cars > 50


@pytest.mark.real
def test_stock_car_config_gives_training_samples(real_root):
    from mmdet3d.registry import DATASETS

    config = stock_config(real_root).train_dataloader.dataset
    # Noise reads boxes and points only, and its kernels take half a minute to compile.
    config.dataset.pipeline = [step for step in config.dataset.pipeline if step["type"] != "ObjectNoise"]
    dataset = DATASETS.build(config)
    assert len(dataset) == 2 * 61
    for index in (0, 30, 60):
        sample = dataset[index]
        assert len(sample["inputs"]["points"]) > 1000
        assert len(sample["data_samples"].gt_instances_3d.bboxes_3d) > 0


@pytest.mark.real
def test_stock_sampler_pastes_the_points_of_the_database(real_root):
    from mmdet3d.structures.ops.box_np_ops import points_in_rbbox

    sampler = stock_config(real_root).db_sampler
    pipeline = [*LOAD, {"type": "ObjectSample", "db_sampler": sampler}]
    dataset = build_dataset(real_root, "train", pipeline=pipeline, filter_empty_gt=False)
    database = {
        tuple(entry["box3d_lidar"]): entry for entry in dataset.pipeline.transforms[-1].db_sampler.db_infos["Car"]
    }
    np.random.seed(0)  # noqa: NPY002 - what the host draws from
    pasted = undecided = 0
    for index in range(10):
        sample = dataset[index]
        own = len(dataset.get_data_info(index)["ann_info"]["gt_labels_3d"])
        boxes = sample["gt_bboxes_3d"].tensor.numpy()[own:]
        expected = [database[tuple(box)]["num_points_in_gt"] for box in boxes]
        # Moved to its place in float32, a point may cross a face that it is within 4e-6 m of.
        margin = np.array([0, 0, 1e-4, -2e-4, -2e-4, -2e-4, 0])
        inner, outer = (points_in_rbbox(sample["points"].numpy(), boxes + m).sum(0) for m in (margin, -margin))
        assert (inner <= expected).all()
        assert (outer >= expected).all()
        undecided += (outer - inner).sum()
        pasted += len(boxes)
    assert pasted > 30
    assert undecided < pasted, "on average not one point of an object lies that close to a face"


def test_stock_dataset_reads_frames_without_objects_and_test_frames(tmp_path):
    root = make_root(tmp_path / "kitti")
    add_test_split(root)
    prepare_kitti(root, image_size=IMAGE_SIZE, progress=False)
    train = build_dataset(root, "train", filter_empty_gt=False)
    assert [len(train[index]["gt_bboxes_3d"]) for index in range(3)] == [2, 0, 1]
    (dont_care,) = build_dataset(root, "val", test_mode=True, pipeline=LOAD[:1])
    assert len(dont_care["eval_ann_info"]["gt_bboxes_3d"]) == 0
    (test,) = build_dataset(root, "test", test_mode=True, pipeline=LOAD[:1])
    assert test["points"].shape[0] == (root / "testing" / "velodyne_reduced" / "000000.bin").stat().st_size // 16
