"""Image data sets in the host's format that the host lacks."""

from pathlib import Path

from mmdet.datasets.base_det_dataset import BaseDetDataset

from lidar_rank.evaluation.rules import is_named, object_roles
from lidar_rank.kernels.kitti_matching import IGNORED, NO_ROLE
from lidar_rank.kitti.files import read_png_size
from lidar_rank.kitti.labels import KittiObjects, read_frame_ids, read_kitti_labels
from lidar_rank.mm.registry import DATASETS


@DATASETS.register_module()
class KittiImageDataset(BaseDetDataset):
    """The left colour images of a KITTI root and their boxes, read from the label files as they are.

    An object beyond the benchmark's hard level (too low, occluded or cut off), one of a neighbour class (``Van`` for
    ``Car``, ``Person_sitting`` for ``Pedestrian``) and, for every class, a ``DontCare`` region are to be ignored: the
    host's assigner ignores the anchors inside them if its ``ignore_iof_thr`` is set, and its metrics the detections.

    Args:
        data_root: KITTI root with ``training/image_2`` and ``training/label_2``.
        ann_file: List of frames, relative to the root, such as ``ImageSets/train.txt``.
        *args: As the host's.
        **kwargs: As the host's; ``metainfo`` may name other classes.

    Raises:
        FileNotFoundError: the list, an image or a label file is missing.
        ValueError: a label file or an image is not well-formed; the message names it.
    """

    METAINFO = {  # noqa: RUF012 - the host's attribute
        "classes": ("Car", "Pedestrian", "Cyclist"),
        "palette": [(0, 114, 189), (217, 83, 25), (237, 177, 32)],
    }

    def load_data_list(self) -> list[dict]:
        """One entry per frame, in the order of the list."""
        training = Path(self.data_root) / "training"
        objects = read_kitti_labels(training / "label_2", read_frame_ids(Path(self.ann_file)))
        return [self._entry(training, objects.frame(index)) for index in range(len(objects.frame_ids))]

    def _entry(self, training: Path, objects: KittiObjects) -> dict:
        path = training / "image_2" / f"{objects.frame_ids[0]}.png"
        if not path.is_file():
            raise FileNotFoundError(f"no image {path}: this data set needs image_2 for every frame of {self.ann_file}")
        width, height = read_png_size(path)
        instances = [
            {"bbox": box, "bbox_label": label, "ignore_flag": ignored}
            for label, class_name in enumerate(self.metainfo["classes"])
            for box, ignored in _boxes_of_class(objects, class_name)
        ]
        return {"img_id": path.stem, "img_path": str(path), "width": width, "height": height, "instances": instances}


def _boxes_of_class(objects: KittiObjects, class_name: str) -> list[tuple[list[float], int]]:
    """Left, top, right, bottom of each object that counts for a class, and 1 where it is to be ignored."""
    role = object_roles(objects, class_name, drop_at_min_height=False)[-1].copy()
    role[is_named(objects, "DontCare")] = IGNORED
    return [
        (box.tolist(), int(of_class == IGNORED))
        for box, of_class in zip(objects.bbox_px, role, strict=True)
        if of_class != NO_ROLE
    ]
