"""Tiny image data sets in the formats of KITTI, VOC and COCO."""

import json
from pathlib import Path

import numpy as np
from PIL import Image

SIZE = (200, 100)
VOC_OBJECT = (
    "<object><name>{0}</name><difficult>0</difficult><bndbox><xmin>{1}</xmin><ymin>{2}</ymin>"
    "<xmax>{3}</xmax><ymax>{4}</ymax></bndbox></object>"
)


def save_image(path: Path, seed: int = 0) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 255, (SIZE[1], SIZE[0], 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)


def label_line(name: str, *box: float, occlusion: int = 0, truncation: float = 0.0) -> str:
    """One line of a KITTI label file; the box is left, top, right, bottom."""
    left, top, right, bottom = box
    return f"{name} {truncation} {occlusion} 0 {left} {top} {right} {bottom} 1.5 1.6 3.9 1 1.6 20 0"


def kitti_root(root: Path, lines_of_frame: dict[str, list[str]]) -> Path:
    """A KITTI root without scans, every frame both in train and in val."""
    for folder in ("training/label_2", "ImageSets"):
        (root / folder).mkdir(parents=True)
    for seed, (frame, lines) in enumerate(lines_of_frame.items()):
        save_image(root / "training/image_2" / f"{frame}.png", seed)
        (root / "training/label_2" / f"{frame}.txt").write_text("".join(f"{line}\n" for line in lines))
    for split in ("train", "val"):
        (root / "ImageSets" / f"{split}.txt").write_text("".join(f"{frame}\n" for frame in lines_of_frame))
    return root


def voc_root(root: Path, objects_of_image: dict[str, list[tuple]]) -> Path:
    """A VOC root, every image in all lists; an object is its name and left, top, right, bottom."""
    for folder in ("Annotations", "ImageSets/Main"):
        (root / folder).mkdir(parents=True)
    for seed, (name, objects) in enumerate(objects_of_image.items()):
        save_image(root / "JPEGImages" / f"{name}.jpg", seed)
        found = "".join(VOC_OBJECT.format(*row) for row in objects)
        size = f"<size><width>{SIZE[0]}</width><height>{SIZE[1]}</height></size>"
        (root / "Annotations" / f"{name}.xml").write_text(f"<annotation>{size}{found}</annotation>")
    for split in ("train", "test", "trainval"):
        (root / "ImageSets/Main" / f"{split}.txt").write_text("".join(f"{name}\n" for name in objects_of_image))
    return root


def coco_root(root: Path, boxes_of_image: dict[int, list[tuple]], classes: tuple[str, ...]) -> Path:
    """A COCO root with the same images in train2017 and val2017; a box is its class and left, top, right, bottom."""
    images = [
        {"id": number, "file_name": f"{number}.jpg", "width": SIZE[0], "height": SIZE[1]} for number in boxes_of_image
    ]
    rows = [(number, *box) for number, boxes in boxes_of_image.items() for box in boxes]
    annotations = [
        {
            "id": index + 1,
            "image_id": number,
            "category_id": label,
            "bbox": [left, top, right - left, bottom - top],
            "area": (right - left) * (bottom - top),
            "iscrowd": 0,
        }
        for index, (number, label, left, top, right, bottom) in enumerate(rows)
    ]
    categories = [{"id": label, "name": name} for label, name in enumerate(classes)]
    (root / "annotations").mkdir(parents=True)
    for split in ("train2017", "val2017"):
        for number in boxes_of_image:
            save_image(root / split / f"{number}.jpg", number)
        whole = {"images": images, "annotations": annotations, "categories": categories}
        (root / "annotations" / f"instances_{split}.json").write_text(json.dumps(whole))
    return root
