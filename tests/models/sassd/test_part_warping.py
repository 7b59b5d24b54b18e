"""Part-sensitive warping by hand on small maps, against bilinear interpolation written out, and its gradients."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

from lidar_rank.models.sassd import PartSensitiveWarping, part_positions

RANGE = (0.0, -4.0, -3.0, 10.0, 4.0, 1.0)
ROWS, COLUMNS, CELL_M = 8, 10, 1.0  # y and x
BOX = [5.0, 0.0, -1.7, 4.0, 2.0, 1.5, 0.0]


def warping(part_maps: Tensor, parts: tuple[int, int] = (4, 7)) -> PartSensitiveWarping:
    """A module whose part maps are the given ones, (scan, part, y, x)."""
    net = PartSensitiveWarping(RANGE, in_channels=part_maps.shape[1], parts=parts)
    net.part_maps = nn.Identity()
    return net


def bilinear(image: np.ndarray, row: float, column: float) -> float:
    """Value between the cells, cell (i, j) at (i, j); zero outside of the map."""
    total, low_row, low_column = 0.0, math.floor(row), math.floor(column)
    for i in (low_row, low_row + 1):
        for j in (low_column, low_column + 1):
            if 0 <= i < image.shape[0] and 0 <= j < image.shape[1]:
                total += image[i, j] * (1 - abs(row - i)) * (1 - abs(column - j))
    return total


def expected(part_maps: Tensor, box: list[float], parts: tuple[int, int] = (4, 7)) -> float:
    """Score of a box, from the facts: part k is read from channel k at its place, cell i lies at i."""
    x, y, _, length, width, _, yaw = box
    values = []
    for i, across in enumerate(np.linspace(-0.5, 0.5, parts[0])):
        for j, along in enumerate(np.linspace(-0.5, 0.5, parts[1])):
            place_x = x + along * length * math.cos(yaw) - across * width * math.sin(yaw)
            place_y = y + along * length * math.sin(yaw) + across * width * math.cos(yaw)
            image = part_maps[i * parts[1] + j].numpy()
            values.append(bilinear(image, (place_y - RANGE[1]) / CELL_M, (place_x - RANGE[0]) / CELL_M))
    return sum(values) / len(values)


def test_scores_equal_those_written_out():
    torch.manual_seed(0)
    maps = torch.randn(2, 28, ROWS, COLUMNS)
    boxes = [
        torch.tensor([BOX, [3.3, 1.2, -1.0, 3.9, 1.6, 1.5, 0.7], [9.5, 3.6, -1.0, 4.0, 1.7, 1.5, -2.0]]),
        torch.tensor([[2.0, -1.0, -1.5, 3.5, 1.5, 1.4, 2.4]]),
    ]
    scores = warping(maps)(maps, boxes)
    for scan in range(2):
        want = [expected(maps[scan], box.tolist()) for box in boxes[scan]]
        assert_close(scores[scan].double(), torch.tensor(want, dtype=torch.float64), rtol=1e-4, atol=1e-5)
    assert scores[0].unique().numel() == 3


def test_by_hand_on_one_part_per_corner():
    """2 x 2 parts of a box from x 3 to 7, y -1 to 1: each channel is read at one corner."""
    maps = torch.zeros(1, 4, ROWS, COLUMNS)
    right, left, rear, front = 3, 5, 3, 7  # rows of y -1 and 1, columns of x 3 and 7
    corners = [(right, rear), (right, front), (left, rear), (left, front)]
    for channel, (row, column) in enumerate(corners):
        maps[0, channel, row, column] = 10.0 ** (channel + 1)
    (score,) = warping(maps, (2, 2))(maps, [torch.tensor([BOX])])
    assert score.item() == pytest.approx((10 + 100 + 1000 + 10000) / 4)
    turned = torch.tensor([[*BOX[:6], math.pi]])
    (score,) = warping(maps, (2, 2))(maps, [turned])
    assert score.item() == pytest.approx(0, abs=1e-2), "a car that faces backwards has its front elsewhere"


def test_cells_stand_at_their_index_with_aligned_corners():
    """x = 9 m is the centre of the last column's sample: without align_corners it would be half a cell off."""
    maps = torch.arange(COLUMNS).float().expand(1, 1, ROWS, COLUMNS)
    boxes = torch.tensor([[9.0, 0.0, 0, 1, 1, 1, 0], [0.0, 0.0, 0, 1, 1, 1, 0], [2.5, 0.0, 0, 1, 1, 1, 0]])
    boxes[:, 3:5] = 0
    (scores,) = warping(maps, (1, 1))(maps, [boxes])
    assert_close(scores, torch.tensor([9.0, 0.0, 2.5]), rtol=0, atol=1e-4)


def test_outside_of_the_map_is_zero():
    maps = torch.ones(1, 28, ROWS, COLUMNS)
    (scores,) = warping(maps)(maps, [torch.tensor([[-20.0, 0.0, 0, 4, 2, 1.5, 0.3], BOX])])
    assert scores.tolist() == pytest.approx([0, 1], abs=1e-5)


def test_parts_lie_edge_to_edge_and_turn_with_the_box():
    box = torch.tensor([[1.0, 2.0, 0.0, 6.0, 3.0, 1.0, math.pi / 2]])
    places = part_positions(box, (4, 7))[0].reshape(4, 7, 2)
    # Heading along y: the length lies on y, the left side at lower x.
    assert_close(places[0, :, 1], 2 + torch.linspace(-3, 3, 7), rtol=0, atol=1e-5)
    assert_close(places[:, 0, 0], 1 - torch.linspace(-1.5, 1.5, 4), rtol=0, atol=1e-5)


def test_gradient_reaches_the_box_and_is_the_numerical_one():
    torch.manual_seed(1)
    maps = torch.randn(1, 28, ROWS, COLUMNS).double()
    boxes = torch.tensor([[4.93, 0.31, -1.7, 3.97, 1.63, 1.5, 0.37]], dtype=torch.float64, requires_grad=True)

    class Wide(PartSensitiveWarping):
        """In double precision, which numerical gradients need."""

        def forward(self, features, own):
            return [self._scores(features[0], own[0])]

    net = Wide(RANGE, in_channels=28)
    assert torch.autograd.gradcheck(lambda b: net(maps, [b])[0], (boxes,), eps=1e-7, atol=1e-5)
    (gradient,) = torch.autograd.grad(net(maps, [boxes])[0].sum(), boxes)
    assert (gradient[0, [0, 1, 3, 4, 6]] != 0).all()
    assert gradient[0, 2] == gradient[0, 5] == 0, "seen from above there is no height"


def test_layers_are_the_published_ones():
    net = PartSensitiveWarping((0, -40, -3, 70.4, 40, 1))
    first, norm, relu, last = net.part_maps
    assert tuple(first.weight.shape) == (28, 256, 3, 3)
    assert tuple(last.weight.shape) == (28, 28, 1, 1)
    assert first.bias is None
    assert last.bias is None
    assert first.padding == (1, 1)
    assert (norm.eps, norm.momentum, type(relu)) == (1e-3, 0.01, nn.ReLU)


def test_scores_start_near_the_prior():
    net = PartSensitiveWarping((0, -4, -3, 8, 4, 1), in_channels=8, prior_prob=0.02)
    nn.init.zeros_(net.part_maps[3].weight)
    (logits,) = net(torch.randn(1, 8, 10, 10), [torch.tensor([[4.0, 0, 0, 4, 2, 1.5, 0.3]])])
    assert logits.sigmoid().item() == pytest.approx(0.02)


def test_published_cells_are_of_forty_centimetres():
    net = PartSensitiveWarping((0, -40, -3, 70.4, 40, 1), in_channels=1, parts=(1, 1))
    net.part_maps = nn.Identity()
    columns = torch.arange(176).float().expand(1, 1, 200, 176)
    rows = torch.arange(200).float()[:, None].expand(1, 1, 200, 176)
    box = torch.tensor([[33.6, 12.0, 0, 0, 0, 0, 0]])
    assert net(columns, [box])[0].item() == pytest.approx(33.6 / 0.4, abs=1e-3)
    assert net(rows, [box])[0].item() == pytest.approx(52 / 0.4, abs=1e-3)


def test_no_boxes_give_no_scores_but_a_graph():
    net = PartSensitiveWarping(RANGE, in_channels=3)
    features = torch.randn(2, 3, ROWS, COLUMNS)
    scores = net(features, [torch.zeros(0, 7), torch.tensor([BOX])])
    assert [len(own) for own in scores] == [0, 1]
    sum(own.sum() for own in scores).backward()
    assert all(parameter.grad is not None for parameter in net.parameters())


def test_autocast_samples_in_full_precision():
    torch.manual_seed(2)
    net = PartSensitiveWarping(RANGE, in_channels=3).eval()
    features = torch.randn(1, 3, ROWS, COLUMNS)
    (want,) = net(features, [torch.tensor([BOX])])
    with torch.autocast("cpu", dtype=torch.bfloat16):
        (got,) = net(features, [torch.tensor([BOX])])
    assert got.dtype == torch.float32
    assert_close(got, want, rtol=0.05, atol=0.02)
