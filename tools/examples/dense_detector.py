"""A dense image detector in one file of plain torch, trained with a ranking loss and without a detection framework.

    lidar-rank simulate data/simulated --scans 200
    python tools/examples/dense_detector.py data/simulated --out work_dirs/dense_detector

ROOT is a KITTI-format root with image_2, label_2 and ImageSets. Every point of three feature maps is a candidate, with
a score for each class and the distances to the four sides of a box. Training starts with focal loss and continues with
the loss given by --loss. At the end the script prints AP50 on the validation split, and writes detections.png (labels
in white, detections with their scores in colour) and detector.pth into the output folder. Pillow reads the images.
"""

import argparse
import math
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import torch
from PIL import Image, ImageDraw
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset
from tqdm import tqdm

from lidar_rank import losses
from lidar_rank.kitti import read_kitti_labels
from lidar_rank.kitti.labels import read_frame_ids

WIDTH_PX, HEIGHT_PX = 640, 192  # input of the network
STRIDES_PX = (8, 16, 32)
LONGEST_SIDE_PX = (48, 96, math.inf)  # of the boxes that belong to each stride
MIN_HEIGHT_PX = 12  # objects of smaller height are ignored, in training and in AP
MIN_SCORE, MAX_OVERLAP, CONSIDERED = 0.05, 0.5, 300  # of detections: lowest score, NMS threshold, number before NMS
MIN_SCORE_DRAWN = 0.4
LOSSES = (
    "RankDetLoss",
    "DRLoss",
    "GHMCLoss",
    "IoUBalancedClsLoss",
    "APLoss",
    "OHEMLoss",
    "SigmoidFocalLoss",
)


class Objects(NamedTuple):
    """Objects of one image. Boxes are left, top, right, bottom in pixels of the network's input."""

    boxes_px: Tensor  # (object, 4)
    labels: Tensor  # (object,): 0..C-1, -1 ignored


class KittiImages(Dataset):
    """Images and objects of one split.

    Args:
        root: KITTI-format root.
        split: Name of a file in ImageSets.
        classes: Classes to detect. Objects of other classes are ignored.
        flip: Mirror each image with probability 0.5.
    """

    def __init__(self, root: Path, split: str, classes: list[str], flip: bool) -> None:
        self.images = root / "training" / "image_2"
        self.frame_ids = read_frame_ids(root / "ImageSets" / f"{split}.txt")
        self.objects = read_kitti_labels(root / "training" / "label_2", self.frame_ids)
        self.classes, self.flip = classes, flip

    def __len__(self) -> int:
        return len(self.frame_ids)

    def __getitem__(self, index: int) -> tuple[Tensor, Objects]:
        with Image.open(self.images / f"{self.frame_ids[index]}.png") as file:
            scale = torch.tensor([WIDTH_PX / file.width, HEIGHT_PX / file.height] * 2)
            image = file.convert("RGB").resize((WIDTH_PX, HEIGHT_PX), Image.Resampling.BILINEAR)
        pixels = torch.frombuffer(bytearray(image.tobytes()), dtype=torch.uint8).view(HEIGHT_PX, WIDTH_PX, 3)
        objects = self.objects.frame(index)
        boxes = torch.as_tensor(objects.bbox_px, dtype=torch.float32) * scale
        known = {name: label for label, name in enumerate(self.classes)}
        labels = torch.tensor([known.get(name, -1) for name in objects.name], dtype=torch.int64)
        labels[boxes[:, 3] - boxes[:, 1] < MIN_HEIGHT_PX] = -1
        pixels = pixels.permute(2, 0, 1).float() / 127.5 - 1
        if self.flip and torch.rand(()) < 0.5:
            pixels = pixels.flip(2)
            boxes = torch.stack([WIDTH_PX - boxes[:, 2], boxes[:, 1], WIDTH_PX - boxes[:, 0], boxes[:, 3]], 1)
        return pixels, Objects(boxes, labels)


def collate(samples: list[tuple[Tensor, Objects]]) -> tuple[Tensor, list[Objects]]:
    """Stack the images. Objects stay in lists."""
    images, objects = zip(*samples, strict=True)
    return torch.stack(images), list(objects)


def block(inputs: int, outputs: int, stride: int = 1) -> nn.Sequential:
    """Convolution, normalisation, activation."""
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False), nn.GroupNorm(8, outputs), nn.ReLU(inplace=True)
    )


class Detector(nn.Module):
    """Backbone, a pyramid of three maps, and one head for all of them.

    Args:
        classes: Number of classes.
        prior_prob: Score with which every candidate starts.
        width: Channels of the pyramid.
    """

    def __init__(self, classes: int, prior_prob: float = 0.01, width: int = 64) -> None:
        super().__init__()
        self.stem = nn.Sequential(block(3, 16, 2), block(16, 32, 2))
        channels = (32, 64, 128, 128)
        self.stages = nn.ModuleList(
            nn.Sequential(block(before, after, 2), block(after, after)) for before, after in pairwise(channels)
        )
        self.laterals = nn.ModuleList(nn.Conv2d(channel, width, 1) for channel in channels[1:])
        self.tower = nn.Sequential(block(width, width), block(width, width))
        self.score = nn.Conv2d(width, classes, 3, padding=1)
        self.sides = nn.Conv2d(width, 4, 3, padding=1)
        nn.init.normal_(self.score.weight, std=0.01)
        nn.init.constant_(self.score.bias, math.log(prior_prob / (1 - prior_prob)))
        stride = [torch.full((HEIGHT_PX // s * (WIDTH_PX // s),), s) for s in STRIDES_PX]
        self.register_buffer("stride_px", torch.cat(stride).float(), persistent=False)
        self.register_buffer("level", torch.bucketize(self.stride_px, torch.tensor(STRIDES_PX)), persistent=False)
        self.register_buffer("points_px", torch.cat([centres(s) for s in STRIDES_PX]), persistent=False)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Return logits (image, candidate, class) and boxes (image, candidate, 4) in pixels."""
        maps, x = [], self.stem(images)
        for stage in self.stages:
            x = stage(x)
            maps.append(x)
        pyramid = [lateral(x) for lateral, x in zip(self.laterals, maps, strict=True)]
        for fine, coarse in ((1, 2), (0, 1)):
            pyramid[fine] = pyramid[fine] + F.interpolate(pyramid[coarse], scale_factor=2.0)
        towers = [self.tower(x) for x in pyramid]
        logits = torch.cat([self.score(x).flatten(2) for x in towers], 2).transpose(1, 2)
        sides = torch.cat([self.sides(x).flatten(2) for x in towers], 2).transpose(1, 2)
        sides_px = sides.clamp(max=6).exp() * 2 * self.stride_px[:, None]
        return logits, torch.cat([self.points_px - sides_px[..., :2], self.points_px + sides_px[..., 2:]], -1)


def centres(stride_px: int) -> Tensor:
    """Centres (x, y) of the cells of a feature map, row by row."""
    y, x = torch.meshgrid(
        torch.arange(stride_px / 2, HEIGHT_PX, stride_px),
        torch.arange(stride_px / 2, WIDTH_PX, stride_px),
        indexing="ij",
    )
    return torch.stack([x.flatten(), y.flatten()], 1)


def overlap(a: Tensor, b: Tensor) -> Tensor:
    """IoU of boxes (..., 4), broadcast."""
    inner = (torch.minimum(a[..., 2:], b[..., 2:]) - torch.maximum(a[..., :2], b[..., :2])).clamp(min=0).prod(-1)
    areas = [(box[..., 2:] - box[..., :2]).prod(-1) for box in (a, b)]
    return inner / (areas[0] + areas[1] - inner).clamp(min=1e-6)


def assign(detector: Detector, objects: Objects, classes: int) -> tuple[Tensor, Tensor]:
    """Return the label of each candidate and the box that belongs to it.

    A candidate near the centre of a box whose size suits its stride belongs to that box, or to the smallest such box.
    Other candidates within a box are ignored, and so are all candidates within an ignored object.
    """
    points, stride = detector.points_px[:, None], detector.stride_px[:, None]
    boxes = torch.cat([objects.boxes_px, torch.zeros(1, 4)]).to(points.device)  # the last box stands for no object
    kinds = torch.cat([objects.labels, torch.tensor([-1])]).to(points.device)
    inside = ((points > boxes[:, :2]) & (points < boxes[:, 2:])).all(2)
    near = ((points - (boxes[:, :2] + boxes[:, 2:]) / 2).abs() < stride[..., None]).all(2)
    longest = (boxes[:, 2:] - boxes[:, :2]).amax(1)
    level = torch.bucketize(longest, longest.new_tensor(LONGEST_SIDE_PX))
    own = inside & near & (level == detector.level[:, None]) & (kinds >= 0)
    area = (boxes[:, 2:] - boxes[:, :2]).prod(1)
    smallest = torch.where(own, area, math.inf).argmin(1)
    labels = torch.where(inside.any(1), -1, classes)
    return torch.where(own.any(1), kinds[smallest], labels), boxes[smallest]


def train(detector: Detector, loader: DataLoader, loss_cls: nn.Module, options: argparse.Namespace) -> None:
    """Train in place: focal loss first, ``loss_cls`` after the warm-up."""
    blend = losses.BlendLoss(losses.SigmoidFocalLoss(), loss_cls).to(options.device)
    steps = options.epochs * len(loader)
    optimizer = torch.optim.AdamW(detector.parameters(), lr=options.lr, weight_decay=1e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, options.lr, total_steps=steps, pct_start=0.1)
    bar = tqdm(total=steps, desc="train", unit="step")
    classes = detector.score.out_channels
    for _ in range(options.epochs):
        for images, objects in loader:
            logits, boxes = detector(images.to(options.device))
            labels, targets = map(torch.stack, zip(*(assign(detector, o, classes) for o in objects), strict=True))
            is_object = (labels >= 0) & (labels < classes)
            iou = overlap(boxes, targets)
            blend.set_progress(float(bar.n >= options.warm_up * steps))
            cls = blend(logits, labels, iou=iou, level=detector.level)
            bbox = (1 - iou[is_object]).sum() / is_object.sum().clamp(min=1)
            optimizer.zero_grad()
            (cls + 2 * bbox).backward()
            nn.utils.clip_grad_norm_(detector.parameters(), 10)
            optimizer.step()
            schedule.step()
            bar.set_postfix(cls=f"{cls.item():.3f}", box=f"{bbox.item():.3f}")
            bar.update()
    bar.close()


class Detections(NamedTuple):
    """Detections of one image, best first."""

    boxes_px: Tensor  # (detection, 4)
    labels: Tensor  # (detection,)
    scores: Tensor  # (detection,)


@torch.no_grad()
def detect(detector: Detector, images: Tensor) -> list[Detections]:
    """Detections of each image after suppression of overlapping ones of the same class."""
    logits, boxes = detector(images)
    result = []
    for image_scores, image_boxes in zip(logits.sigmoid().cpu(), boxes.cpu(), strict=True):
        scores, entry = image_scores.flatten().sort(descending=True)
        entry = entry[: int((scores[:CONSIDERED] > MIN_SCORE).sum())]
        labels, found = entry % image_scores.shape[1], image_boxes[entry // image_scores.shape[1]]
        covers = (overlap(found[:, None], found) > MAX_OVERLAP) & (labels[:, None] == labels)
        alive = torch.ones(len(entry), dtype=torch.bool)
        for i in range(len(entry)):
            if alive[i]:
                alive[i + 1 :] &= ~covers[i, i + 1 :]
        result.append(Detections(found[alive], labels[alive], scores[: len(entry)][alive]))
    return result


def average_precision(detections: list[Detections], objects: list[Objects], label: int) -> float:
    """AP at IoU 0.5 of one class, in percent: the area under the monotone envelope of precision over recall.

    In descending order of score, a detection takes the free object that it overlaps most. A detection that overlaps
    only an ignored object does not count.
    """
    scored = []
    for found, truth in zip(detections, objects, strict=True):
        free = truth.labels == label
        for box, score in zip(found.boxes_px[found.labels == label], found.scores[found.labels == label], strict=True):
            iou = overlap(box, truth.boxes_px)
            match = torch.where(free, iou, 0.0)
            if match.numel() and match.max() >= 0.5:
                free[match.argmax()] = False
                scored.append((score.item(), 1.0))
            elif not (iou[truth.labels == -1] >= 0.5).any():
                scored.append((score.item(), 0.0))
    number = sum(int((truth.labels == label).sum()) for truth in objects)
    if not scored or number == 0:
        return 0.0 if number else math.nan
    right = torch.tensor([hit for _, hit in sorted(scored, key=lambda pair: -pair[0])])
    precision = right.cumsum(0) / torch.arange(1, len(right) + 1)
    best_from_here = precision.flip(0).cummax(0).values.flip(0)
    return 100 * (best_from_here * right).sum().item() / number


def picture(images: Tensor, objects: list[Objects], detections: list[Detections], classes: list[str]) -> Image.Image:
    """Draw the images one below the other."""
    sheet = Image.new("RGB", (WIDTH_PX, HEIGHT_PX * len(images)))
    for row, (pixels, truth, found) in enumerate(zip(images, objects, detections, strict=True)):
        image = Image.fromarray(((pixels + 1) * 127.5).byte().permute(1, 2, 0).cpu().numpy())
        pen = ImageDraw.Draw(image)
        for box in truth.boxes_px[truth.labels >= 0].tolist():
            pen.rectangle(box, outline="white")
        drawn = found.scores >= MIN_SCORE_DRAWN
        for box, label, score in zip(*(column[drawn].tolist() for column in found), strict=True):
            pen.rectangle(box, outline="orange")
            pen.text((box[0], box[1] - 11), f"{classes[label]} {score:.2f}", fill="orange")
        sheet.paste(image, (0, HEIGHT_PX * row))
    return sheet


def evaluate(detector: Detector, loader: DataLoader, classes: list[str], options: argparse.Namespace) -> None:
    """Print AP50, and save a picture of the first images."""
    objects, detections, shown = [], [], []
    for images, truths in tqdm(loader, desc="test", unit="batch"):
        objects += truths
        detections += detect(detector, images.to(options.device))
        shown += list(images) if len(shown) < 4 else []
    for label, name in enumerate(classes):
        print(f"{name} AP50: {average_precision(detections, objects, label):.1f}")
    shown = torch.stack(shown[:4])
    picture(shown, objects[:4], detections[:4], classes).save(options.out / "detections.png")


def parse(arguments: list[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("root", type=Path, help="KITTI-format root with images")
    parser.add_argument("--out", type=Path, default=Path("work_dirs/dense_detector"), help="default %(default)s")
    parser.add_argument("--loss", choices=LOSSES, default=LOSSES[0], help="default %(default)s")
    parser.add_argument("--warm-up", type=float, default=0.4, help="share of the steps with focal loss (%(default)s)")
    parser.add_argument("--classes", nargs="+", default=["Car"], help="default Car")
    parser.add_argument("--epochs", type=int, default=30, help="default %(default)s")
    parser.add_argument("--batch-size", type=int, default=8, help="default %(default)s")
    parser.add_argument("--lr", type=float, default=2e-3, help="highest learning rate (%(default)s)")
    parser.add_argument("--workers", type=int, default=0, help="processes that read images (%(default)s)")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu", help="default %(default)s")
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> None:
    """Train, test, draw."""
    options = parse(arguments)
    torch.manual_seed(options.seed)
    splits = (KittiImages(options.root, name, options.classes, flip=name == "train") for name in ("train", "val"))
    train_loader, val_loader = (
        DataLoader(split, options.batch_size, shuffle=split.flip, collate_fn=collate, num_workers=options.workers)
        for split in splits
    )
    detector = Detector(len(options.classes)).to(options.device)
    train(detector, train_loader, getattr(losses, options.loss)(), options)
    options.out.mkdir(parents=True, exist_ok=True)
    torch.save(detector.state_dict(), options.out / "detector.pth")
    evaluate(detector, val_loader, options.classes, options)
    print(f"{options.out / 'detections.png'}")


if __name__ == "__main__":
    main()
