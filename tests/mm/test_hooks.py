"""The warm-up: when which loss counts."""

from types import SimpleNamespace

import pytest
from torch import nn

from lidar_rank.losses import BlendLoss, DRLoss, SigmoidFocalLoss
from lidar_rank.mm.hooks import WarmUpHook


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
