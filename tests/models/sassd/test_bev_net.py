"""The 2D network: its layers are the published ones, and warping sees the map before the last convolution."""

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from lidar_rank.models.sassd import BEVNet


def test_layers_are_the_published_ones():
    net = BEVNet()
    convs = [module for module in net.modules() if isinstance(module, nn.Conv2d)]
    assert [(conv.in_channels, conv.out_channels, conv.kernel_size[0]) for conv in convs] == [
        (320, 256, 3),
        *[(256, 256, 3)] * 6,
        (256, 256, 1),
    ]
    assert all(conv.bias is None and conv.stride == (1, 1) for conv in convs)
    norms = [module for module in net.modules() if isinstance(module, nn.BatchNorm2d)]
    assert len(norms) == 8
    assert {(norm.eps, norm.momentum) for norm in norms} == {(1e-3, 0.01)}
    assert len([module for module in net.modules() if isinstance(module, nn.ReLU)]) == 8


def test_returns_the_maps_after_and_before_the_last_convolution():
    torch.manual_seed(0)
    net = BEVNet(6, 5, depth=2).eval()
    x = torch.randn(2, 6, 8, 7)
    box_features, part_features = net(x)
    assert box_features.shape == part_features.shape == (2, 5, 8, 7)
    for layer in list(net.body):
        x = layer(x)
    assert_close(part_features, x)
    conv, norm, _ = net.last
    scaled = nn.functional.conv2d(x, conv.weight) / (1 + 1e-3) ** 0.5 * norm.weight.view(-1, 1, 1)
    assert_close(box_features, scaled.relu())


def test_depth_of_zero_is_refused():
    with pytest.raises(ValueError, match="depth must be at least 1, got 0"):
        BEVNet(4, 4, depth=0)
