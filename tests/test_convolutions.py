"""The convolutions of maps against torch's own in double precision: values, gradients, and which layers they serve."""

import copy
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

from lidar_rank.convolutions import Conv2d, ConvTranspose2d, apply_together, speed_up

THREE = {"in_channels": 16, "out_channels": 32, "kernel_size": 3, "padding": 1}
LAYERS = {
    "3 x 3": nn.Conv2d(**THREE, bias=False),
    "3 x 3 with bias": nn.Conv2d(**THREE),
    "3 x 3 from many to few": nn.Conv2d(48, 16, 3, padding=1),
    "1 x 1": nn.Conv2d(5, 3, 1),
    "1 x 1 without bias": nn.Conv2d(16, 1, 1, bias=False),
    "transposed 1 x 1": nn.ConvTranspose2d(5, 3, 1),
    "transposed 2 x 2": nn.ConvTranspose2d(5, 3, 2, stride=2, bias=False),
    "transposed 4 x 2": nn.ConvTranspose2d(5, 3, (4, 2), stride=(4, 2)),
}
# Each leaves the ways of this module in another respect.
OTHERS = {
    "stride": nn.Conv2d(**THREE, stride=2),
    "no padding": nn.Conv2d(16, 32, 3),
    "5 x 5": nn.Conv2d(16, 32, 5, padding=1),
    "dilation": nn.Conv2d(**THREE, dilation=2),
    "groups": nn.Conv2d(**THREE, groups=2),
    "mirrored borders": nn.Conv2d(**THREE, padding_mode="reflect"),
    "padding by name": nn.Conv2d(16, 32, 3, padding="valid"),
    "inputs that fill no vectors": nn.Conv2d(15, 32, 3, padding=1),
    "outputs that fill no vectors": nn.Conv2d(16, 30, 3, padding=1),
    "1 x 1 with a stride": nn.Conv2d(16, 3, 1, stride=2),
    "1 x 1 with padding": nn.Conv2d(16, 3, 1, padding=1),
    "transposed 3 x 3 that overlap": nn.ConvTranspose2d(16, 3, 3, stride=2),
    "transposed with more outputs": nn.ConvTranspose2d(16, 3, 2, stride=2, output_padding=1),
    "transposed in groups": nn.ConvTranspose2d(16, 4, 2, stride=2, groups=2),
}


@pytest.fixture(params=[1, 2], ids=["one thread", "two threads"])
def threads(request: pytest.FixtureRequest) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield
    torch.set_num_threads(before)


def faster(layer: nn.Module, dtype: torch.dtype = torch.float64) -> nn.Module:
    layer = copy.deepcopy(layer).to(dtype)
    speed_up(layer)
    assert type(layer) in (Conv2d, ConvTranspose2d)
    return layer


def maps_for(layer: Any, *shape: int) -> Tensor:
    torch.manual_seed(0)
    return torch.randn(shape[0], layer.in_channels, *shape[1:], dtype=torch.float64)


def outcome(layer: nn.Module, maps: Tensor) -> list[Tensor]:
    """Values, and the gradients of a random sum of them."""
    maps = maps.to(layer.weight.dtype).requires_grad_()
    out = layer(maps)
    torch.manual_seed(1)
    weights = torch.randn(out.shape, dtype=torch.float64).to(out.dtype)
    return [out, *torch.autograd.grad((out * weights).sum(), [maps, *layer.parameters()])]


@pytest.mark.usefixtures("threads")
@pytest.mark.parametrize("shape", [(1, 24, 16), (3, 13, 18), (2, 21, 19), (30, 2, 3)])
@pytest.mark.parametrize("name", LAYERS)
def test_values_and_gradients_are_those_of_torch(name: str, shape: tuple[int, ...]) -> None:
    layer = LAYERS[name].double()
    maps = maps_for(layer, *shape)
    expected = outcome(layer, maps)
    for format in (torch.contiguous_format, torch.channels_last):
        assert_close(outcome(faster(layer), maps.contiguous(memory_format=format)), expected, rtol=1e-12, atol=1e-11)


@pytest.mark.parametrize("name", LAYERS)
def test_a_batch_without_scans_gives_one(name: str) -> None:
    layer = LAYERS[name].double()
    maps = maps_for(layer, 0, 8, 8)
    assert_close(outcome(faster(layer), maps), outcome(layer, maps))


def test_the_winograd_way_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    layer = LAYERS["3 x 3"]
    maps = maps_for(layer, 2, 20, 20).float()
    monkeypatch.setattr(nn.Conv2d, "_conv_forward", lambda *_: pytest.fail("torch's way was taken"))
    assert faster(layer, torch.float32)(maps).shape == (2, 32, 20, 20)


def test_rounding_in_single_precision_is_close_to_that_of_torch() -> None:
    layer = nn.Conv2d(64, 64, 3, padding=1, bias=False)
    maps = maps_for(layer, 2, 48, 48).relu()
    exact = outcome(copy.deepcopy(layer).double(), maps)
    for ours, torchs, wanted in zip(
        outcome(faster(layer, torch.float32), maps), outcome(layer, maps), exact, strict=True
    ):
        error, usual = ((found - wanted).norm() / wanted.norm() for found in (ours, torchs))
        assert error < 4 * usual + 1e-6


def test_only_the_wanted_gradients_are_computed() -> None:
    layer = faster(LAYERS["3 x 3"])
    maps = maps_for(layer, 2, 20, 20)
    layer(maps).sum().backward()
    assert layer.weight.grad is not None
    assert maps.grad is None
    frozen = faster(LAYERS["3 x 3"]).requires_grad_(False)
    frozen(maps.requires_grad_()).sum().backward()
    assert maps.grad is not None
    assert frozen.weight.grad is None


@pytest.mark.parametrize("name", OTHERS)
def test_other_layers_are_left_to_torch(name: str) -> None:
    layer = OTHERS[name].double()
    maps = maps_for(layer, 2, 20, 20)
    assert_close(outcome(faster(layer), maps), outcome(layer, maps), rtol=0, atol=0)


def test_few_tiles_scans_without_a_batch_and_other_types_are_left_to_torch() -> None:
    layer = LAYERS["3 x 3"].float()
    ours, maps = faster(layer, torch.float32), maps_for(layer, 1, 40, 40).float()
    for given in (maps[..., :8, :8], maps[0]):
        assert torch.equal(ours(given), layer(given))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert ours(maps).dtype == torch.bfloat16
    assert torch.equal(ours.bfloat16()(maps.bfloat16()), copy.deepcopy(layer).bfloat16()(maps.bfloat16()))
    assert ours.to("meta")(maps.to("meta")).shape == (1, 32, 40, 40)


def test_a_transposed_convolution_with_an_output_size_is_left_to_torch() -> None:
    layer = nn.ConvTranspose2d(4, 3, 2, stride=2)
    maps = maps_for(layer, 2, 5, 5).float()
    assert torch.equal(faster(layer, torch.float32)(maps, output_size=[11, 11]), layer(maps, output_size=[11, 11]))


@pytest.mark.parametrize("kernel", [1, 3])
@pytest.mark.parametrize("plain", [False, True])
def test_layers_applied_together_give_what_each_gives(kernel: int, plain: bool) -> None:
    layers = [nn.Conv2d(16, channels, kernel).double() for channels in (2, 14, 4)]
    maps = maps_for(layers[0], 2, 7, 5)
    found, expected = [], []
    for outcomes, given in ((found, layers if plain else [faster(layer) for layer in layers]), (expected, layers)):
        inputs = maps.clone().requires_grad_()
        outs = apply_together(given, inputs) if outcomes is found else [layer(inputs) for layer in given]
        weights = [parameter for layer in given for parameter in layer.parameters()]
        outcomes += [*outs, *torch.autograd.grad(sum(out.square().sum() for out in outs), [inputs, *weights])]
    assert_close(found, expected, rtol=1e-12, atol=1e-12)


def test_only_known_classes_are_changed_and_weights_keep_their_names() -> None:
    class Same(nn.Conv2d):
        pass

    class Other(nn.Conv2d):
        pass

    network = nn.Sequential(nn.Conv2d(4, 4, 3), nn.Sequential(Same(4, 4, 3), Other(4, 4, 3)), nn.BatchNorm2d(4))
    before = network.state_dict()
    speed_up(network, Same)
    assert [type(module) for module in network.modules() if isinstance(module, nn.Conv2d)] == [Conv2d, Conv2d, Other]
    assert copy.deepcopy(network).state_dict().keys() == before.keys()
