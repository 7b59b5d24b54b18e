"""The one-file detector: its parts on hand-made cases, and a training that overfits four images."""

import random

import pytest
import torch

pytest.importorskip("PIL", reason="the example reads images with Pillow")

from PIL import Image, ImageDraw

from tools.examples import dense_detector
from tools.examples.dense_detector import Detections, Detector, Objects, assign, average_precision, detect

UNUSED = "1.5 1.6 3.9 1.0 1.6 20.0 0.0"  # size, location and yaw, which an image detector does not read


@pytest.fixture(autouse=True)
def _small_images(monkeypatch):
    monkeypatch.setattr(dense_detector, "WIDTH_PX", 128)
    monkeypatch.setattr(dense_detector, "HEIGHT_PX", 64)


@pytest.fixture
def root(tmp_path):
    """Four grey images of 256 x 128 pixels; a red block is a Car, a blue one a Van."""
    random.seed(0)
    for folder in ("training/image_2", "training/label_2", "ImageSets"):
        (tmp_path / folder).mkdir(parents=True)
    frame_ids = [f"{number:06d}" for number in range(4)]
    for frame_id in frame_ids:
        image, lines = Image.new("RGB", (256, 128), "grey"), []
        for kind, colour, left in (("Car", "red", 10), ("Van", "blue", 130)):
            x, y = left + random.randrange(30), 20 + random.randrange(30)
            box = (x, y, x + 50 + random.randrange(30), y + 40 + random.randrange(30))
            ImageDraw.Draw(image).rectangle(box, fill=colour)
            lines.append(f"{kind} 0.0 0 0.0 {' '.join(map(str, box))} {UNUSED}\n")
        image.save(tmp_path / "training/image_2" / f"{frame_id}.png")
        (tmp_path / "training/label_2" / f"{frame_id}.txt").write_text("".join(lines))
    for split in ("train", "val"):
        (tmp_path / "ImageSets" / f"{split}.txt").write_text("\n".join(frame_ids))
    return tmp_path


def test_overfits_four_images(root, capsys):
    options = ["--epochs", "30", "--batch-size", "2", "--lr", "0.005", "--device", "cpu"]
    dense_detector.main([str(root), "--out", str(root / "out"), *options])
    printed = capsys.readouterr().out
    assert float(printed.split("Car AP50:")[1].split()[0]) > 80
    with Image.open(root / "out" / "detections.png") as picture:
        assert picture.size == (128, 256)
    state = torch.load(root / "out" / "detector.pth", weights_only=True)
    Detector(1).load_state_dict(state)


@pytest.mark.parametrize("loss", dense_detector.LOSSES)
def test_every_loss_takes_a_step(root, loss):
    options = ["--epochs", "1", "--batch-size", "4", "--warm-up", "0", "--device", "cpu", "--loss", loss]
    dense_detector.main([str(root), "--out", str(root / "out"), *options])
    state = torch.load(root / "out" / "detector.pth", weights_only=True)
    assert all(value.isfinite().all() for value in state.values())


def test_assignment():
    detector = Detector(2)
    boxes = torch.tensor([[10.0, 10.0, 50.0, 42.0], [20.0, 16.0, 40.0, 36.0], [70.0, 4.0, 120.0, 60.0]])
    labels, targets = assign(detector, Objects(boxes, torch.tensor([0, 1, -1])), 2)
    at = {tuple(point): place for place, point in enumerate(detector.points_px[:128].tolist())}  # stride 8
    assert labels[at[28.0, 28.0]] == 1  # centre of both boxes: belongs to the smaller one
    assert targets[at[28.0, 28.0]].tolist() == boxes[1].tolist()
    assert labels[at[12.0, 12.0]] == -1  # within a box but far from its centre
    assert labels[at[92.0, 28.0]] == -1  # within an ignored object
    assert labels[at[4.0, 60.0]] == 2  # in no box
    nothing, _ = assign(detector, Objects(torch.zeros(0, 4), torch.zeros(0, dtype=torch.int64)), 2)
    assert (nothing == 2).all()


def test_detections_of_one_class_do_not_overlap():
    class Known(torch.nn.Module):
        def forward(self, _):
            boxes = torch.tensor([[0.0, 0.0, 10.0, 10.0], [1.0, 0.0, 11.0, 10.0], [50.0, 0.0, 60.0, 10.0]])
            logits = torch.tensor([[2.0, -9.0], [1.0, 3.0], [0.0, -9.0]])
            return logits[None], boxes[None]

    (found,) = detect(Known(), torch.zeros(1, 3, 64, 128))
    assert found.labels.tolist() == [1, 0, 0]
    assert found.boxes_px[:, 0].tolist() == [1, 0, 50]
    torch.testing.assert_close(found.scores, torch.tensor([3.0, 2.0, 0.0]).sigmoid())


def test_average_precision_by_hand():
    box = torch.tensor([[0.0, 0.0, 10.0, 10.0]])
    truth = Objects(torch.cat([box, box + 100, box + 200]), torch.tensor([0, 0, -1]))
    found = Detections(
        torch.cat([box, box + 300, box + 1, box + 200, box + 101]),  # right, wrong, again, ignored, right
        torch.zeros(5, dtype=torch.int64),
        torch.tensor([0.9, 0.8, 0.7, 0.6, 0.5]),
    )
    assert average_precision([found], [truth], 0) == pytest.approx(100 * (1 + 2 / 4) / 2)
    assert average_precision([found._replace(labels=torch.ones(5))], [truth], 0) == 0
