"""Every config builds with every loss that it takes; the small ones for scans train and are evaluated."""

import copy
import functools
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from mmdet3d.registry import MODELS
from mmengine.config import Config
from mmengine.registry import MODELS as ROOT_MODELS
from mmengine.registry import init_default_scope
from mmengine.runner import Runner
from torch import nn

from lidar_rank import losses
from lidar_rank.config_files import losses_in_text
from lidar_rank.kitti.classes import ClassStatistics, write_statistics
from lidar_rank.mm import configs
from lidar_rank.mm.registry import METRICS
from tools.ablation import STUDIES
from tools.ablation_table import Study, read_studies

from .conftest import CONFIGS

FILES = sorted(CONFIGS.glob("[a-z]*/*.py"))
LOSS_FILES = sorted((CONFIGS / "_base_" / "losses").glob("*.py"))
OF_FILE = {path.stem: losses_in_text(path) for path in LOSS_FILES}
DENSE, RPN, IOU_BALANCED = OF_FILE["dense"], OF_FILE["rpn"], OF_FILE["iou-balanced"]
NUM_CLASSES = {"own": 2, "3class": 3, "bccd": 3, "coco": 80, "voc0712": 20, "kitti": 3}
SCANS = DENSE | OF_FILE["ce"] | OF_FILE["iou-branch"] | OF_FILE["box-iou"]
TAKEN = {
    "second": SCANS,
    "sassd": SCANS | OF_FILE["confidence"],
    "pointpillars": SCANS,
    "retinanet": DENSE,
    "atss": OF_FILE["focal"] | OF_FILE["rankdet"] | OF_FILE["dr"],
    "ssd": IOU_BALANCED,
    "foveabox": IOU_BALANCED,
    "faster_rcnn": {"iou-balanced"} | OF_FILE["ghm-r"] | RPN,
}


@functools.cache
def read(path: Path) -> Config:
    """A config; those for own data find a root with two classes."""
    with pytest.MonkeyPatch.context() as patch, tempfile.TemporaryDirectory() as root:
        if "_own" in path.stem:
            patch.setenv("KITTI_ROOT", root)
            of_class = {name: ClassStatistics(9, (length_m, 1.0, 1.5), -1.7) for name, length_m in (("a", 4), ("b", 1))}
            write_statistics(Path(root), of_class)
        return Config.fromfile(path)


@pytest.fixture
def read_once(monkeypatch):
    """Reading a config takes longer than putting a loss in and building it."""
    monkeypatch.setattr(configs, "_read", lambda path: copy.deepcopy(read(path)))


def combinations() -> Iterator:
    for path in FILES:
        for loss in (None, *sorted(losses_in_text(path))):
            yield pytest.param(path, loss, id=f"{path.stem}-{loss}")


def head_of(model: dict, loss: str | None) -> dict:
    """The head of a config that a loss is for."""
    if loss in RPN:
        return model.rpn_head
    return model.roi_head.bbox_head if "roi_head" in model else model.bbox_head


def build_head(config: Config, loss: str | None) -> nn.Module:
    init_default_scope(config.default_scope)
    model = config.model
    own = {} if "roi_head" in model else {key: model[key] for key in ("train_cfg", "test_cfg")}
    if loss in RPN:
        own = {key: model[key].rpn for key in ("train_cfg", "test_cfg")}
    return ROOT_MODELS.build({**head_of(model, loss), **own})


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_config_takes_the_losses_of_its_detector(path: Path):
    assert set(configs.losses_of(read(path))) == losses_in_text(path) == TAKEN[path.parent.name]


def test_every_loss_is_taken_by_a_config():
    taken = set().union(*TAKEN.values())
    assert [path.stem for path in LOSS_FILES if not losses_in_text(path) <= taken] == []


@pytest.mark.parametrize(("path", "loss"), list(combinations()))
@pytest.mark.usefixtures("read_once")
def test_config_builds_every_loss_that_it_takes(path: Path, loss: str | None):
    own, config = configs.load_config(str(path)), configs.load_config(str(path), loss)
    put_in = head_of(configs.losses_of(read(path))[loss].model, loss) if loss else {}
    head = build_head(config, loss)
    for key in ("loss_cls", "loss_bbox"):
        wanted = put_in.get(key, head_of(own.model, loss)[key])
        assert type(getattr(head, key)).__name__ == wanted.type.rpartition(".")[2]
        assert wanted.type.startswith("lidar_rank.") or path.parent.name in ("atss", "faster_rcnn")
    data = path.stem.removesuffix("_small").removesuffix("_tiny").rpartition("_")[2].rpartition("-")[2]
    assert head.num_classes == (1 if loss in RPN else NUM_CLASSES.get(data, 1))
    assert config.train_cfg.max_epochs >= config.train_cfg.val_interval
    if "prior_prob" in put_in:
        start = head.prior_prob if hasattr(head, "prior_prob") else head.init_cfg["override"]["bias_prob"]
        assert start == put_in.prior_prob
    configs.check_warm_up(config)
    warmed_up = any(hook.type == "lidar_rank.WarmUpHook" for hook in config.get("custom_hooks", []))
    assert warmed_up == any(isinstance(module, losses.BlendLoss) for module in head.modules())


def test_confidences_that_rank_have_no_threshold_and_the_score_of_their_anchor_beside_them():
    model = configs.load_config(str(CONFIGS / "sassd" / "sassd_kitti-car.py"), "rankdet-confidence").model
    assert model.bbox_head.loss_part.end.loss_weight == 0.03
    assert (model.test_cfg.score_thr, model.test_cfg.ranked_by) == (0.0, "both")


@pytest.mark.parametrize(
    "name", ["second/second_kitti-car", "second/second_kitti-3class", "pointpillars/pointpillars_kitti-car"]
)
def test_anchors_keep_boxes_whose_ranking_score_is_low(name: str):
    test = configs.load_config(str(CONFIGS / f"{name}.py"), "rankdet").model.test_cfg
    assert (test.score_thr, test.nms_thr, test.max_num) == (0.01, 0.01, 50)  # the host's score_thr is 0.1


@pytest.mark.parametrize("detector", ["second", "sassd", "pointpillars"])
def test_scans_have_tuned_weights_and_those_of_the_papers(detector: str):
    path = CONFIGS / detector / f"{detector}_kitti-car_small.py"
    hooks = [configs.load_config(str(path), loss).custom_hooks[-1] for loss in ("rankdet", "rankdet-class")]
    assert [(hook.get("begin"), hook.get("end")) for hook in hooks] == [(None, None), (None, None)]
    threshold = 0.6 if detector == "sassd" else None
    wanted = {
        "rankdet": (0.1, 10.0, None),
        "rankdet-paper": (1.0, 1.0, None),
        "dr": (0.1, 1.0, threshold),
        "dr-after-focal": (0.25, 1.0, None),
        "dr-paper": (1.0, 1.0, threshold),
        "ap": (0.5, 1.0, threshold),
        "ap-paper": (1.0, 1.0, threshold),
        "alrp": (0.25, 1.0, threshold),
        "alrp-paper": (1.0, 1.0, threshold),
        "rank-sort-paper": (1.0, 1.0, threshold),
        "rankdet-no-iou": (0.25, 0.0, None),
        "rankdet-global": (0.5, 1.0, None),
        "rankdet-class": (0.5, 1.0, None),
    }
    weights = {
        loss: (loss_cls.get("loss_weight", 1.0), loss_cls.get("iou_weight", 1.0), head.get("proposal_score_thr"))
        for loss in wanted
        for head in [configs.load_config(str(path), loss).model.bbox_head]
        for loss_cls in [head.loss_cls.get("end", head.loss_cls)]
    }
    assert weights == wanted
    both = configs.load_config(str(path), "focal-rankdet-iou+box-iou").model.bbox_head
    added = [loss.losses[1] for loss in (both.loss_cls, both.loss_bbox)]
    assert [(loss.type, loss.get("loss_weight", 1.0)) for loss in added] == [
        ("lidar_rank.IoURankingLoss", 0.5),
        ("lidar_rank.RotatedIoULoss", 1.0),
    ]
    bounds = [
        configs.load_config(str(path), loss).model.bbox_head.loss_cls.get("max_weight")
        for loss in ("ghm-c", "ghm-c-paper", "ghm", "ghm-paper")
    ]
    assert bounds == [100.0, None, 100.0, None]
    boxes = {
        loss: configs.load_config(str(path), loss).model.bbox_head.loss_bbox
        for loss in ("ghm", "ghm-paper", "diou", "odiou")
    }
    assert {loss: (box.get("mu"), box.loss_weight) for loss, box in boxes.items()} == {
        "ghm": (0.05, 20.0),
        "ghm-paper": (None, 10.0),
        "diou": (None, 1.0),
        "odiou": (None, 4.0),
    }
    balanced = [configs.load_config(str(path), f"iou-balanced{which}").model.bbox_head for which in ("", "-paper")]
    assert [(head.loss_bbox.get("exponent"), head.loss_bbox.loss_weight) for head in balanced] == [
        (0.5, 4.0),
        (None, 2.0),
    ]
    assert balanced[0].loss_cls == balanced[1].loss_cls
    assert {head.loss_bbox.get("reduction") for head in balanced} == {"none" if detector == "sassd" else None}


def tiny(path: Path, loss: str | None = None) -> Config:
    """A small config shrunk to voxels of 0.6 m and one layer a stage, which a scan takes tenths of seconds to pass."""
    config = configs.load_config(str(path), loss)
    voxels = {
        "second": {"model.middle_encoder.sparse_shape": [21, 64, 64]},
        "pointpillars": {
            "model.voxel_encoder.voxel_size": [0.6, 0.6, 4],
            "model.middle_encoder.output_shape": [64, 64],
        },
        "sassd": {
            "model.middle_encoder.sparse_shape": (20, 64, 64),
            "model.auxiliary.voxel_size_m": [0.6, 0.6, 0.2],
            "model.bbox_head.voxel_size": [0.6, 0.6, 0.2],
        },
    }[path.parent.name]
    layers = config.model.backbone.get("layer_nums")
    depth = {"model.backbone.layer_nums": [1] * len(layers)} if layers else {"model.backbone.depth": 1}
    voxel_size = [0.6, 0.6, 4 if path.parent.name == "pointpillars" else 0.2]
    limits = {"voxel_size": voxel_size, "max_voxels": (200, 200)}
    config.merge_from_dict({**voxels, **depth, "model.data_preprocessor.voxel_layer": limits})
    for loader in (config.train_dataloader, config.val_dataloader):
        loader.update(batch_size=2, num_workers=0, persistent_workers=False)
    return config


def object_sampler(config: Config) -> dict:
    """Settings of what pastes objects into scans to train on."""
    (sampler,) = [step.db_sampler for step in config.train_dataloader.dataset.dataset.pipeline if "db_sampler" in step]
    return sampler


@functools.cache
def batches(root: Path, detector: str, data: str) -> tuple[dict, dict]:  # noqa: ARG001 - the root is in the config
    """A batch to train on and one to test on; all losses of a detector share them."""
    config = tiny(CONFIGS / detector / f"{detector}_{data}.py")
    loaders = [Runner.build_dataloader(loader, seed=0) for loader in (config.train_dataloader, config.val_dataloader)]
    return tuple(next(iter(loader)) for loader in loaders)


def trained() -> Iterator:
    """Every loss on cars in SECOND and SA-SSD, some elsewhere, where the same head takes them."""
    few = ("rankdet", "ghm")
    for name, tried in {
        "second/second_kitti-car_small": sorted(TAKEN["second"]),
        "second/second_kitti-3class_small": (*few, "dr", "iou-balanced", "ap"),
        "sassd/sassd_kitti-car_small": (*sorted(TAKEN["sassd"]), "rankdet+rankdet-confidence"),
        "sassd/sassd_kitti-3class_small": few,
        "pointpillars/pointpillars_kitti-car_small": few,
    }.items():
        path = CONFIGS / f"{name}.py"
        for loss in (None, *tried):
            yield pytest.param(path, loss, id=f"{path.stem}-{loss}")


@pytest.mark.parametrize(("path", "loss"), list(trained()))
def test_small_config_trains_two_steps_and_is_evaluated(
    path: Path, loss: str | None, simulated_root: Path, monkeypatch
):
    monkeypatch.setenv("KITTI_ROOT", str(simulated_root))
    config = tiny(path, loss)
    init_default_scope(config.default_scope)
    data = "kitti-3class_small" if "3class" in path.stem else "kitti-car_small"
    train, held_back = copy.deepcopy(batches(simulated_root, path.parent.name, data))
    torch.manual_seed(0)
    model = MODELS.build(config.model)
    model.init_weights()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    for progress in (0.0, 1.0):
        for loss in model.modules():
            if isinstance(loss, losses.BlendLoss):
                loss.set_progress(progress)
        values = model(**model.data_preprocessor(copy.deepcopy(train), training=True), mode="loss")
        assert {"loss_cls", "loss_bbox", "loss_dir"} <= set(values)
        assert values["loss_cls"] > 0
        total, _ = model.parse_losses(values)
        optimizer.zero_grad()
        total.backward()
        assert all(value.grad.isfinite().all() for value in model.parameters() if value.grad is not None)
        assert model.bbox_head.conv_cls.weight.grad.abs().max() > 0
        optimizer.step()

    model.eval()
    with torch.no_grad():
        results = model(**model.data_preprocessor(held_back, training=False), mode="predict")
    metric = METRICS.build(config.val_evaluator)
    metric.dataset_meta = config.val_dataloader.dataset.metainfo
    metric.process({}, [result.to_dict() for result in results])
    metrics = metric.evaluate(len(results))
    assert {"kitti/Car/3d/R40/moderate", "kitti/Car/bev/R40/hard"} <= set(metrics)
    assert ("kitti/Pedestrian/3d/R40/easy" in metrics) == ("3class" in path.stem)


@pytest.mark.parametrize("detector", ["second", "sassd"])
def test_the_tiny_networks_fit_their_voxels(detector, simulated_root: Path, monkeypatch):
    monkeypatch.setenv("KITTI_ROOT", str(simulated_root))
    config = Config.fromfile(CONFIGS / detector / f"{detector}_kitti-car_tiny.py")
    init_default_scope(config.default_scope)
    model = MODELS.build(config.model)
    model.init_weights()
    scans, _ = copy.deepcopy(batches(simulated_root, detector, "kitti-car_small"))
    values = model(**model.data_preprocessor(scans, training=True), mode="loss")
    assert values["loss_bbox"] > 0, "anchors and objects meet"


def test_small_configs_see_less_than_the_full_one():
    full = Config.fromfile(CONFIGS / "second" / "second_kitti-car.py")
    small = Config.fromfile(CONFIGS / "second" / "second_kitti-car_small.py")
    ranges = [step.point_cloud_range for step in small.train_pipeline if "point_cloud_range" in step]
    assert ranges == [[0, -19.2, -3, 38.4, 19.2, 1]] * 2
    ranges = [step.point_cloud_range for step in full.train_pipeline if "point_cloud_range" in step]
    assert ranges == [[0, -40, -3, 70.4, 40, 1]] * 2
    (augmentation,) = [step.transforms for step in small.test_dataloader.dataset.pipeline if "transforms" in step]
    assert [step.point_cloud_range for step in augmentation if "point_cloud_range" in step] == [small.small_range]


def test_three_class_config_samples_what_the_hosts_does():
    host = Config.fromfile(host_configs() / "second/second_hv_secfpn_8xb6-80e_kitti-3d-3class.py")
    ours = Config.fromfile(CONFIGS / "second" / "second_kitti-3class.py")
    want, got = (config.train_dataloader.dataset.dataset for config in (host, ours))
    assert got.metainfo == want.metainfo
    for key in ("classes", "sample_groups", "prepare"):
        assert object_sampler(ours)[key] == object_sampler(host)[key]
    for key in ("sizes", "rotations", "reshape_out", "type"):
        assert ours.model.bbox_head.anchor_generator[key] == host.model.bbox_head.anchor_generator[key]
    assert [list(row) for row in ours.model.bbox_head.anchor_generator.ranges] == [
        list(row) for row in host.model.bbox_head.anchor_generator.ranges
    ]
    for one, other in zip(ours.model.train_cfg.assigner, host.model.train_cfg.assigner, strict=True):
        for key in ("pos_iou_thr", "neg_iou_thr", "min_pos_iou"):
            assert one[key] == other[key]


def host_configs() -> Path:
    import mmdet3d

    return Path(mmdet3d.__file__).parent / ".mim" / "configs"


def test_data_root_comes_from_the_environment(monkeypatch):
    monkeypatch.setenv("KITTI_ROOT", "/somewhere")
    config = Config.fromfile(CONFIGS / "second" / "second_kitti-car_small.py")
    dataset = config.train_dataloader.dataset.dataset
    assert dataset.data_root == "/somewhere"
    assert object_sampler(config).info_path == "/somewhere/kitti_dbinfos_train.pkl"
    assert config.val_evaluator.data_root == "/somewhere"


def test_every_loss_module_is_registered_and_found_from_every_host():
    from mmdet.registry import MODELS as MMDET_MODELS

    from lidar_rank.mm.registry import MODELS as OURS

    modules = losses.CLASSIFICATION_LOSSES + losses.LOCALIZATION_LOSSES + losses.COMPOSITE_LOSSES
    assert {losses.DRLoss, losses.RankDetLoss, losses.GHMCLoss, losses.SmoothL1Loss, losses.SumLoss} <= set(modules)
    for module in modules:
        name = module.__name__
        assert issubclass(OURS.get(name), module)
        assert MODELS.get(f"lidar_rank.{name}") is MMDET_MODELS.get(f"lidar_rank.{name}") is OURS.get(name)
    assert MMDET_MODELS.get("SmoothL1Loss") is not losses.SmoothL1Loss


def test_losses_that_hold_losses_are_built_from_configs():
    focal, dr = {"type": "lidar_rank.SigmoidFocalLoss"}, {"type": "lidar_rank.DRLoss", "loss_weight": 2.0}
    inputs = (torch.zeros(1, 3, 1), torch.tensor([[0, 1, 1]]))
    total = MODELS.build({"type": "lidar_rank.SumLoss", "losses": [focal, dr]})(*inputs)
    torch.testing.assert_close(total, losses.SigmoidFocalLoss()(*inputs) + 2 * losses.DRLoss()(*inputs))
    blend = MODELS.build({"type": "lidar_rank.BlendLoss", "start": focal, "end": dr})
    blend.set_progress(1.0)
    torch.testing.assert_close(blend(*inputs), 2 * losses.DRLoss()(*inputs))
    flat = MODELS.build({"type": "lidar_rank.FlatLoss", "loss": dr})
    torch.testing.assert_close(flat(*(part[0] for part in inputs)), 2 * losses.DRLoss()(*inputs))


def test_scores_that_are_only_compared_with_each_other_start_in_the_middle():
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(1, 60, 1, generator=generator)
    labels = (torch.rand(1, 60, generator=generator) > 0.2).long()
    iou = torch.rand(1, 60, generator=generator)
    compared = set()
    path = CONFIGS / "second" / "second_kitti-car_small.py"
    for name in losses_in_text(path):
        head = configs.load_config(str(path), name).model.bbox_head
        if head.loss_cls.type == "lidar_rank.BlendLoss":
            continue  # which starts with focal loss
        loss = MODELS.build(head.loss_cls)
        if torch.allclose(loss(logits, labels, iou=iou), loss(logits - 4, labels, iou=iou)):
            compared.add(name)
            assert head.prior_prob == 0.5, f"with {name} all scores may stay below the threshold of the test"
    assert {"ap", "alrp", "rank-sort"} <= compared


def parts_of(loss: dict) -> Iterator[dict]:
    """A loss and the losses that it is made of."""
    yield loss
    for part in (loss.get("start"), loss.get("end"), *loss.get("losses", [])):
        yield from parts_of(part) if part else ()


@pytest.mark.parametrize("name", ["retinanet_r18_small_bccd", "retinanet_r18_small_kitti-car", "atss_r18_small_bccd"])
@pytest.mark.usefixtures("read_once")
def test_focal_loss_has_one_weight_wherever_a_loss_contains_it(name: str):
    """Losses are compared with focal loss; another weight of their own focal loss would be what is compared."""
    (path,) = CONFIGS.glob(f"*/{name}.py")
    weight = configs.load_config(str(path)).model.bbox_head.loss_cls.loss_weight
    for loss in losses_in_text(path):
        tuned = not loss.endswith("-paper")
        for part in parts_of(configs.load_config(str(path), loss).model.bbox_head.loss_cls):
            if part.type.rpartition(".")[2] in ("SigmoidFocalLoss", "QualityFocalLoss", "IoUBalancedClsLoss"):
                assert part.get("loss_weight", 1) == (weight if tuned else 1), loss


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("sassd/*.py")), ids=lambda path: path.stem)
@pytest.mark.usefixtures("read_once")
def test_focal_loss_of_sassd_is_normalised_scan_by_scan_wherever_a_loss_contains_it(path: Path):
    for loss in (None, *losses_in_text(path)):
        for part in parts_of(configs.load_config(str(path), loss).model.bbox_head.loss_cls):
            if part.type == "lidar_rank.SigmoidFocalLoss":
                assert part.get("scope") == "image", loss


@pytest.mark.parametrize(("path", "loss"), [case for case in combinations() if "-ghm" in case.id])
@pytest.mark.usefixtures("read_once")
def test_steps_with_ghm_are_bounded(path: Path, loss: str):
    assert configs.load_config(str(path), loss).optim_wrapper.clip_grad.max_norm <= 35


@pytest.mark.parametrize(
    "study", [study for study in read_studies(STUDIES).values() if study.tuning], ids=lambda s: s.name
)
def test_settings_of_the_studies_are_those_of_their_losses(study: Study):
    load = functools.cache(configs.load_config)  # rows share configs
    for row in study.rows.values():
        config = load(str(CONFIGS / row.config), row.loss)
        for place in {place for settings in (row.options, *row.trials) for place in settings}:
            *owners, name = place.split(".")
            part = functools.reduce(lambda part, step: part[int(step) if step.isdigit() else step], owners, config)
            assert "type" in part or name in part or owners == ["train_cfg"], f"{row.name}: {place}"
        for place, chosen_on in study.tuning.options.items():
            tested_on = functools.reduce(lambda part, step: part[step], place.split("."), config)
            assert tested_on.endswith(".txt")
            assert tested_on != chosen_on, f"{row.name}: settings are chosen on the frames that it is tested on"
        if "custom_hooks.2.begin" in row.options:
            assert config.custom_hooks[2].type == "lidar_rank.WarmUpHook"
