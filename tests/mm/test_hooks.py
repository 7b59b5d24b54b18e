"""The warm-up: when which loss counts. Reproducible epochs: which samplers are reset."""

from types import SimpleNamespace

import pytest
import torch
from mmdet3d.datasets.transforms.dbsampler import BatchSampler
from torch import nn

from lidar_rank.losses import BlendLoss, DRLoss, SigmoidFocalLoss
from lidar_rank.mm.hooks import EpochSeedHook, WarmUpHook


def progress(hook: WarmUpHook, iterations: int = 8) -> list[float]:
    model = nn.ModuleDict({"loss_cls": BlendLoss(SigmoidFocalLoss(), DRLoss())})
    runner = SimpleNamespace(model=model, iter=0, max_iters=iterations)
    hook.before_train(runner)
    seen = []
    for runner.iter in range(iterations):
        hook.before_train_iter(runner, runner.iter)
        seen.append(model["loss_cls"].progress)
    return seen


def test_switches_at_once():
    assert progress(WarmUpHook()) == [0, 0, 0, 0, 1, 1, 1, 1]
    assert progress(WarmUpHook(begin=0.0)) == [1] * 8


def test_blends_linearly():
    assert progress(WarmUpHook(begin=0.25, end=0.75)) == [0, 0, 0, 0.25, 0.5, 0.75, 1, 1]


def test_says_what_is_wrong():
    with pytest.raises(ValueError, match=r"0 <= begin <= end <= 1, got begin=0.5 and end=0.2"):
        WarmUpHook(begin=0.5, end=0.2)
    runner = SimpleNamespace(model=nn.ModuleDict({"loss_cls": DRLoss()}))
    with pytest.raises(ValueError, match=r"needs a loss_cls of type lidar_rank\.BlendLoss"):
        WarmUpHook().before_train(runner)


def pastes_objects(wrap=lambda transform: transform) -> SimpleNamespace:
    """A data set whose pipeline pastes objects; ``wrap`` may put the transform into another one."""
    paste = SimpleNamespace(db_sampler=SimpleNamespace(sampler_dict={"Car": BatchSampler(list(range(50)), "Car")}))
    pipeline = SimpleNamespace(transforms=[SimpleNamespace(), wrap(paste)])
    return SimpleNamespace(pipeline=pipeline, car=paste.db_sampler.sampler_dict["Car"])


def concatenation(one: SimpleNamespace, other: SimpleNamespace) -> SimpleNamespace:
    return SimpleNamespace(datasets=[one, other])


def repetition(one: SimpleNamespace, other: SimpleNamespace) -> SimpleNamespace:
    return SimpleNamespace(dataset=SimpleNamespace(dataset=concatenation(other, one)))


def mixture(one: SimpleNamespace, other: SimpleNamespace) -> SimpleNamespace:
    """As MultiImageMixDataset: a data set with a pipeline of its own, a plain list."""
    return SimpleNamespace(dataset=one, pipeline=other.pipeline.transforms)


@pytest.mark.parametrize("wrapper", [concatenation, repetition, mixture])
def test_epoch_resets_the_samplers_of_all_wrapped_data_sets(wrapper):
    apply_at_random = lambda transform: SimpleNamespace(transforms=SimpleNamespace(transforms=[transform]))  # noqa: E731
    one, other = pastes_objects(), pastes_objects(apply_at_random)
    loader = SimpleNamespace(dataset=wrapper(one, other), num_workers=0)
    runner = SimpleNamespace(seed=3, epoch=5, train_dataloader=loader)
    drawn = []
    for skipped in (0, 7):
        for sampler in (one.car, other.car):
            sampler.sample(skipped)
        EpochSeedHook().before_train_epoch(runner)
        drawn.append([sampler.sample(20) for sampler in (one.car, other.car)])
    assert drawn[0] == drawn[1]


def test_data_set_without_a_pipeline_needs_no_samplers():
    loader = SimpleNamespace(dataset=[1, 2, 3], num_workers=0)
    drawn = []
    for epoch in (0, 0, 1):
        EpochSeedHook().before_train_epoch(SimpleNamespace(seed=0, epoch=epoch, train_dataloader=loader))
        drawn.append(torch.rand(3).tolist())
    assert drawn[0] == drawn[1], "the epoch is seeded"
    assert drawn[1] != drawn[2]
