"""Training and testing of a config, as ``lidar-rank train`` and ``lidar-rank test`` call them."""

import os
from collections.abc import Iterator
from pathlib import Path

import torch
from mmengine.config import Config
from mmengine.runner import Runner
from mmengine.structures import BaseDataElement, InstanceData

import lidar_rank.mm  # noqa: F401 - registers all that configs name
from lidar_rank.mm.checkpoints import check_checkpoints
from lidar_rank.mm.datasets import check_annotations, use_split
from lidar_rank.mm.registry import SCOPE
from lidar_rank.mm.seam import Candidates, check_losses_have_images


def train(
    config: str,
    *,
    work_dir: str | None = None,
    resume: bool = False,
    amp: bool = False,
    seed: int | None = None,
    options: dict | None = None,
) -> None:
    """Train ``config``; under ``torchrun`` or Slurm this is one of many processes.

    Args:
        config: Path of an mmengine config.
        work_dir: Where logs and checkpoints go; default ``work_dirs/<config name>``.
        resume: Go on from the newest checkpoint in ``work_dir``; start anew if there is none.
        amp: Mixed precision: float16 with loss scaling on CUDA, bfloat16 on a CPU.
        seed: Seed of weights, order and augmentation; default that of the config, else 0.
        options: Settings that replace those of the config, keys with dots.

    Raises:
        FileNotFoundError: the config, or a file of the data set that it names, does not exist.
    """
    cfg = _load(config, work_dir, options)
    _check_data(cfg, "train_dataloader", "val_dataloader")
    cfg.resume = resume
    check_checkpoints(cfg)
    cfg.randomness = {"seed": 0, **cfg.get("randomness", {}), **({} if seed is None else {"seed": seed})}
    if amp:
        _use_mixed_precision(cfg)
    Runner.from_cfg(cfg).train()


def test(
    config: str,
    checkpoint: str,
    *,
    split: str | None = None,
    out: str | None = None,
    work_dir: str | None = None,
    options: dict | None = None,
) -> dict[str, float]:
    """Evaluate ``checkpoint`` on the test set of ``config`` and return its metrics.

    Args:
        config: Path of an mmengine config.
        checkpoint: Path of weights trained with it.
        split: ``train``, ``val``, ``trainval`` or ``test``, of a KITTI root; default the test set of the config.
        out: Folder for KITTI result files, one per frame; for images, for pictures of the detections and COCO results.
        work_dir: Where logs go; default ``work_dirs/<config name>``.
        options: Settings that replace those of the config, keys with dots.

    Raises:
        FileNotFoundError: the config, the checkpoint, or a file of the data set does not exist.
    """
    cfg = _load_for_test(config, checkpoint, work_dir, options, split=split, out=out)
    if out:
        _write_results(cfg, Path(out).absolute())
    return Runner.from_cfg(cfg).test()


def candidates(
    config: str, checkpoint: str, *, work_dir: str | None = None, options: dict | None = None
) -> Iterator[Candidates]:
    """Say what ``checkpoint`` thinks of every candidate of the test set of ``config``, and what is true.

    Args:
        config: Path of an mmengine config whose head is one of ours.
        checkpoint: Path of weights trained with it.
        work_dir: Where logs go; default ``work_dirs/<config name>``.
        options: Settings that replace those of the config, keys with dots.

    Yields:
        Scores, labels and overlaps of one batch, on the CPU; as arrays they are what ``lidar_rank.analysis`` takes.

    Raises:
        FileNotFoundError: the config, the checkpoint, or a file of the data set does not exist.
        ValueError: the checkpoint is of another model, or its head is not one of ours.
    """
    runner = Runner.from_cfg(_load_for_test(config, checkpoint, work_dir, options))
    runner.load_or_resume()
    model = runner.model.module if hasattr(runner.model, "module") else runner.model
    head = getattr(model, "bbox_head", None)
    if not hasattr(head, "candidates"):
        raise ValueError(
            f"{config}: a {type(model).__name__} with {type(head).__name__} does not say which candidates are objects;"
            f" give it a dense head of scope {SCOPE}"
        )
    model.eval()
    for batch in runner.test_dataloader:
        with torch.no_grad():
            data = model.data_preprocessor(batch, training=False)
            features = model.extract_feat(data["inputs"])
        samples = data["data_samples"]
        known = _in_scan if "eval_ann_info" in samples[0] else _in_image
        objects, *ignored = zip(*(known(sample, next(model.parameters()).device) for sample in samples), strict=True)
        found = head.candidates(features, objects, [sample.metainfo for sample in samples], *ignored)
        yield Candidates(*(part.cpu() for part in found))


def _in_scan(sample: BaseDataElement, device: torch.device) -> tuple[InstanceData]:
    """Objects of a scan to test on."""
    known = sample.eval_ann_info
    boxes, labels = known["gt_bboxes_3d"].to(device), torch.as_tensor(known["gt_labels_3d"]).to(device)
    return (InstanceData(bboxes_3d=boxes, labels_3d=labels),)


def _in_image(sample: BaseDataElement, device: torch.device) -> tuple[InstanceData, InstanceData]:
    """Objects of an image to test on, and what to ignore there, in pixels of the network's input.

    The host keeps those of a test in pixels of the file.
    """
    found = sample.gt_instances.to(device), sample.ignored_instances.to(device)
    scale = torch.tensor(sample.scale_factor, device=device).repeat(2)
    for instances in found:
        instances.bboxes = instances.bboxes * scale
    return found


def _load_for_test(
    config: str,
    checkpoint: str,
    work_dir: str | None,
    options: dict | None,
    *,
    split: str | None = None,
    out: str | None = None,
) -> Config:
    if not Path(checkpoint).is_file():
        raise FileNotFoundError(f"no checkpoint at {checkpoint}")
    cfg = _load(config, work_dir, options)
    if split:
        use_split(cfg, split, out)
    _check_data(cfg, "test_dataloader")
    cfg.load_from = checkpoint
    check_checkpoints(cfg)
    return cfg


def _load(config: str, work_dir: str | None, options: dict | None) -> Config:
    if not Path(config).is_file():
        raise FileNotFoundError(
            f"no config at {config}: they lie in configs/, e.g. configs/second/second_kitti-car_small.py"
        )
    cfg = Config.fromfile(config)
    cfg.merge_from_dict(options or {})
    check_losses_have_images(cfg.model)
    cfg.work_dir = work_dir or cfg.get("work_dir") or str(Path("work_dirs") / Path(config).stem)
    cfg.launcher = _launcher()
    if not torch.cuda.is_available():
        cfg.env_cfg.dist_cfg.backend = "gloo"
    return cfg


def _launcher() -> str:
    """Who started this process: torchrun and Slurm say so in the environment."""
    if "LOCAL_RANK" in os.environ:
        return "pytorch"
    return "slurm" if int(os.environ.get("SLURM_NTASKS", "1")) > 1 else "none"


def _use_mixed_precision(cfg: Config) -> None:
    if torch.cuda.is_available():
        cfg.optim_wrapper.update(type="AmpOptimWrapper", loss_scale="dynamic")
    else:
        cfg.optim_wrapper.type = "lidar_rank.CPUAmpOptimWrapper"


def _write_results(cfg: Config, out: Path) -> None:
    """Let a test leave its detections in ``out``."""
    evaluators = cfg.test_evaluator if isinstance(cfg.test_evaluator, list) else [cfg.test_evaluator]
    for evaluator in evaluators:
        if evaluator.type == "lidar_rank.KittiAP":
            evaluator.result_dir = str(out)
        if evaluator.type == "CocoMetric":
            evaluator.outfile_prefix = str(out / "results")
    if cfg.default_scope == "mmdet":
        cfg.default_hooks.visualization.update(draw=True, test_out_dir=str(out))


def _check_data(cfg: Config, *loaders: str) -> None:
    """Fail before the model is built if a data set is not prepared."""
    for loader in loaders:
        dataset = cfg[loader].dataset
        while "dataset" in dataset:
            dataset = dataset.dataset
        if "ann_file" not in dataset:
            continue
        annotations = Path(dataset.get("data_root") or "", dataset.ann_file)
        if not annotations.is_file():
            prepare = f"Prepare the data set with 'lidar-rank create-data {dataset.get('data_root')}', or name"
            raise FileNotFoundError(
                f"{loader} needs {annotations}, which does not exist."
                f" {prepare if annotations.suffix == '.pkl' else 'Name'} another root with"
                f" {'BCCD_ROOT' if dataset.type == 'VOCDataset' else 'KITTI_ROOT'}=DIR"
            )
        check_annotations(dataset)
