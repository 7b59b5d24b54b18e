"""A model of one weight and a data set of numbers, for tests of the training loop: a run takes a tenth of a second."""

from pathlib import Path

import torch
from mmengine.evaluator import BaseMetric
from mmengine.hooks import Hook
from mmengine.model import BaseModel
from mmengine.registry import DATASETS, HOOKS, METRICS, MODELS
from torch.utils.data import Dataset

CONFIG = """
default_scope = "mmengine"
model = dict(type="ToyModel")
train_dataloader = dict(
    batch_size=2, num_workers=0, sampler=dict(type="DefaultSampler", shuffle=True), dataset=dict(type="ToyData")
)
train_cfg = dict(by_epoch=True, max_epochs=4)
optim_wrapper = dict(optimizer=dict(type="SGD", lr=0.1, momentum=0.9))
custom_hooks = [dict(type="RecordRates")]
default_hooks = dict(checkpoint=dict(type="CheckpointHook", interval=1))
"""
STEPS_PER_EPOCH = 3


@MODELS.register_module()
class ToyModel(BaseModel):
    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(1))

    def forward(self, inputs: list[torch.Tensor], mode: str) -> dict | list:
        if mode == "predict":
            return [{} for _ in inputs]
        return {"loss": (self.weight * torch.stack(inputs).float().mean() - 1).square().sum()}


@DATASETS.register_module()
class ToyData(Dataset):
    def __len__(self) -> int:
        return 2 * STEPS_PER_EPOCH

    def __getitem__(self, index: int) -> dict:
        return {"inputs": torch.tensor(index)}


@METRICS.register_module()
class ToyMetric(BaseMetric):
    """A metric that never gets better."""

    def process(self, data_batch, data_samples) -> None:  # noqa: ARG002
        self.results += data_samples

    def compute_metrics(self, results: list) -> dict[str, float]:  # noqa: ARG002
        return {"toy": 0.0}


@HOOKS.register_module()
class RecordRates(Hook):
    """Remember the hyperparameters of each step of the latest run, as (epoch, learning rate, momentum)."""

    rows: list[tuple[int, float, float]]

    def before_train(self, runner) -> None:  # noqa: ARG002
        RecordRates.rows = []

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None) -> None:  # noqa: ARG002
        group = runner.optim_wrapper.param_groups[0]
        RecordRates.rows.append((runner.epoch, group["lr"], group["momentum"]))


def write_config(folder: Path, text: str = "", name: str = "toy.py") -> str:
    """Write the toy config, with more text at its end, and return its path."""
    path = folder / name
    path.write_text(CONFIG + text)
    return str(path)
