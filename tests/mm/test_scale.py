"""Many processes and mixed precision: what they learn is what one process in float32 learns."""

import copy
import os
from pathlib import Path

import pytest
import torch
from mmdet3d.registry import MODELS
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmengine.runner import Runner
from torch import distributed, nn
from torch.nn.parallel import DistributedDataParallel

import lidar_rank.mm  # noqa: F401 - a spawned process registers all that configs name
from lidar_rank.losses import BlendLoss
from tests.ranks import run_ranks

from .conftest import CONFIGS
from .test_configs import tiny

PER_IMAGE = ["dr", "rankdet"]


class ClassificationLoss(nn.Module):
    """A whole detector as a function from scans to its classification loss; batch statistics are those of ``scans``."""

    def __init__(self, config: Config, scans: list[dict]) -> None:
        super().__init__()
        init_default_scope(config.default_scope)
        torch.manual_seed(0)
        self.model = MODELS.build(config.model)
        self.model.init_weights()
        nn.init.normal_(self.model.bbox_head.conv_cls.weight, std=0.1)
        if isinstance(self.model.bbox_head.loss_cls, BlendLoss):
            self.model.bbox_head.loss_cls.set_progress(1.0)
        for module in self.modules():
            if isinstance(module, nn.modules.batchnorm._BatchNorm):
                module.momentum = 1.0
        with torch.no_grad():
            self(scans)
        self.eval()

    def forward(self, scans: list[dict]) -> torch.Tensor:
        scans = copy.deepcopy(scans)  # the host puts tensors in the place of boxes
        batch = {
            "inputs": {"points": [scan["inputs"]["points"] for scan in scans]},
            "data_samples": [scan["data_samples"] for scan in scans],
        }
        data = self.model.data_preprocessor(batch, training=True)
        return self.model(**data, mode="loss")["loss_cls"]


def load(loss: str) -> tuple[Config, list[dict]]:
    """The small config with a loss, shrunk to seconds, and the two training scans with the most objects."""
    config = tiny(CONFIGS / "second" / "second_kitti-car_small.py", loss)
    # Anchors close enough for several positives in every scan: only scans that have pairs count in a mean of RankDet.
    config.model.data_preprocessor.voxel_layer.update(voxel_size=[0.2, 0.2, 0.2], max_voxels=(4000, 4000))
    config.model.middle_encoder.sparse_shape = [21, 192, 192]
    dataset = config.train_dataloader.dataset.dataset
    dataset.pipeline = [step for step in dataset.pipeline if step.type not in ("ObjectSample", "ObjectNoise")]
    torch.manual_seed(0)
    repeated = Runner.build_dataloader(config.train_dataloader, seed=0).dataset  # has no end to iterate to
    scans = [repeated[index] for index in range(len(repeated))]
    scans.sort(key=lambda scan: -len(scan["data_samples"].gt_instances_3d.labels_3d))
    return config, scans[:2]


def gradients(module: nn.Module) -> dict[str, torch.Tensor]:
    return {name: value.grad for name, value in module.named_parameters() if value.grad is not None}


def on_rank(rank: int, folder: str) -> None:
    os.environ["GLOO_SOCKET_IFNAME"] = "lo"
    distributed.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=2)
    for name in PER_IMAGE:
        config, scans = torch.load(f"{folder}/{name}.pt", weights_only=False)
        module = DistributedDataParallel(ClassificationLoss(config, scans), find_unused_parameters=True)
        module(scans[rank : rank + 1]).backward()
        torch.save(gradients(module.module), f"{folder}/{name}_{rank}.pt")
        del module  # which can wait without end for a group that was destroyed before it
    distributed.destroy_process_group()


def test_two_processes_learn_what_one_learns_from_the_joined_batch(simulated_root: Path, monkeypatch, tmp_path):
    monkeypatch.setenv("KITTI_ROOT", str(simulated_root))
    problems = {name: load(name) for name in PER_IMAGE}
    for name, problem in problems.items():
        torch.save(problem, tmp_path / f"{name}.pt")
    run_ranks(on_rank, tmp_path)
    for name, (config, scans) in problems.items():
        whole = ClassificationLoss(config, scans)
        whole(scans).backward()
        wanted = gradients(whole)
        assert wanted["model.middle_encoder.conv_input.0.weight"].abs().max() > 0
        for rank in range(2):
            got = torch.load(tmp_path / f"{name}_{rank}.pt")
            for parameter, value in wanted.items():
                torch.testing.assert_close(got[parameter], value, rtol=1e-3, atol=1e-6, msg=f"{name} {parameter}")


@pytest.mark.parametrize("name", PER_IMAGE)
def test_bfloat16_gives_the_loss_of_float32(name, simulated_root: Path, monkeypatch):
    monkeypatch.setenv("KITTI_ROOT", str(simulated_root))
    config, scans = load(name)
    module = ClassificationLoss(config, scans)
    single = module(scans)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        mixed = module(scans)
    assert mixed.dtype == torch.float32
    assert mixed != single, "bfloat16 was not used"
    torch.testing.assert_close(mixed, single, rtol=0.02, atol=0)
    mixed.backward()
    assert all(value.isfinite().all() for value in gradients(module).values())
