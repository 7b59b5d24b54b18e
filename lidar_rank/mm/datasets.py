"""Roots in the host: images and scans as data sets, the choice of a split to test on, a check of annotation files."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from mmdet.datasets.base_det_dataset import BaseDetDataset
from mmdet3d.datasets.kitti_dataset import KittiDataset
from mmengine.config import Config

from lidar_rank.evaluation.rules import is_named, object_roles
from lidar_rank.kernels.kitti_matching import IGNORED, NO_ROLE
from lidar_rank.kitti.files import read_png_size
from lidar_rank.kitti.infos import read_database_infos, read_image_sizes, read_info_classes, read_infos
from lidar_rank.kitti.labels import KittiObjects, read_frame_ids, read_kitti_labels
from lidar_rank.kitti.preparation import INFO_NAMES
from lidar_rank.kitti.root import Frame, folder_of_split
from lidar_rank.mm.registry import DATASETS

# Types of data sets of scans, without scope.
SCANS = ("KittiDataset", "LidarDataset")


@DATASETS.register_module()
class LidarDataset(KittiDataset):
    """Scans of a root that names its own classes, with or without a camera: mmdet3d's ``KittiDataset`` has fixed ones.

    Args:
        data_root: Root that ``lidar-rank create-data`` has prepared.
        ann_file: Annotation file, relative to the root.
        metainfo: ``classes``: those to train on, in the order of their labels; by default all of the root.
        **kwargs: As the host's. ``data_prefix.pts`` is ``training/velodyne`` for scans without a camera.

    Raises:
        FileNotFoundError: there is no ``ann_file``.
        ValueError: ``ann_file`` is damaged, or does not know one of the classes.
    """

    def __init__(self, data_root: str, ann_file: str, metainfo: Mapping | None = None, **kwargs) -> None:
        known = read_info_classes(Path(data_root, ann_file))
        chosen = tuple((metainfo or {}).get("classes") or known)
        _check_known(chosen, known, Path(data_root, ann_file))
        self.METAINFO = {**KittiDataset.METAINFO, "classes": known}
        super().__init__(data_root, ann_file, metainfo={**(metainfo or {}), "classes": chosen}, **kwargs)


def _check_known(chosen: Sequence[str], known: Sequence[str], path: Path) -> None:
    unknown = [name for name in chosen if name not in known]
    if unknown:
        raise ValueError(
            f"{path} has no class {unknown[0]!r}, only {', '.join(known)}: give the config the root that it was written"
            " for, or prepare the root again after a change of its classes.txt"
        )


@DATASETS.register_module()
class KittiImageDataset(BaseDetDataset):
    """The left colour images of a KITTI root and their boxes, read from the label files as they are.

    An object beyond the benchmark's hard level (too low, occluded or truncated), one of a neighbour class (``Van`` for
    ``Car``, ``Person_sitting`` for ``Pedestrian``) and, for every class, a ``DontCare`` region are to be ignored: the
    host's assigner ignores the anchors inside them if its ``ignore_iof_thr`` is set, and its metrics the detections.

    Args:
        data_root: KITTI root.
        ann_file: List of frames, relative to the root, such as ``ImageSets/train.txt``.
        data_prefix: ``img`` is the folder of the images, relative to the root; default ``training/image_2``. The labels
            lie beside it in ``label_2``. To test, there may be none, as in KITTI's ``testing``.
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
        folder = Path(self.data_prefix.get("img") or Path(self.data_root, "training/image_2")).parent
        frames = [Frame(folder, name) for name in read_frame_ids(Path(self.ann_file))]
        if self.test_mode and not (folder / "label_2").is_dir():
            return [self._entry(frame, None) for frame in frames]
        objects = read_kitti_labels(folder / "label_2", [frame.name for frame in frames])
        return [self._entry(frame, objects.frame(index)) for index, frame in enumerate(frames)]

    def _entry(self, frame: Frame, objects: KittiObjects | None) -> dict:
        path = frame.image_path
        if not path.is_file():
            raise FileNotFoundError(f"no image {path}: this data set needs image_2 for every frame of {self.ann_file}")
        width, height = read_png_size(path)
        instances = [
            {"bbox": box, "bbox_label": label, "ignore_flag": ignored}
            for label, class_name in enumerate(self.metainfo["classes"] if objects else ())
            for box, ignored in _boxes_of_class(objects, class_name)
        ]
        return {"img_id": path.stem, "img_path": str(path), "width": width, "height": height, "instances": instances}


def use_split(cfg: Config, split: str, out: str | None) -> None:
    """Let a config test on another split of its KITTI root.

    Args:
        cfg: Config whose test set is one of scans or images in KITTI's format; changed in place.
        split: ``train``, ``val``, ``trainval`` or ``test``.
        out: Folder for the detections, or None.

    Raises:
        ValueError: the config tests on other data or with another metric, or the frames have no labels and there is no
            ``out``, so that the test would leave nothing.
    """
    folder = folder_of_split(split)
    dataset = cfg.test_dataloader.dataset
    while "dataset" in dataset:
        dataset = dataset.dataset
    evaluators = cfg.test_evaluator if isinstance(cfg.test_evaluator, list) else [cfg.test_evaluator]
    kind = _unscoped(dataset.type)
    if kind in SCANS:
        dataset.ann_file = INFO_NAMES[split]
        dataset.data_prefix.pts = f"{folder}/{Path(dataset.data_prefix.pts).name}"
    elif kind == "KittiImageDataset":
        dataset.ann_file = f"ImageSets/{split}.txt"
        dataset.data_prefix = {"img": f"{folder}/image_2"}
    else:
        raise ValueError(f"--split needs a data set in KITTI's format, but this config tests on a {kind}")
    has_labels = Path(dataset.data_root, folder, "label_2").is_dir()
    if not (has_labels or out):
        raise ValueError(
            f"{Path(dataset.data_root, folder)} has no labels: name a folder for the results with --out DIR"
        )
    for evaluator in evaluators:
        if _unscoped(evaluator.type) in ("KittiAP", "DistanceAP"):
            evaluator.ann_file = INFO_NAMES[split]
        elif _unscoped(evaluator.type) == "CocoMetric":
            evaluator.format_only = not has_labels
        else:
            raise ValueError(
                f"--split needs KittiAP or DistanceAP for scans or CocoMetric for images, not {evaluator.type}"
            )


def check_annotations(dataset: Mapping) -> None:
    """Check the annotation files of scans, so that one that cannot be used is named before the model is built.

    Args:
        dataset: Config of a data set, without wrappers; nothing is checked unless it is one of scans.

    Raises:
        FileNotFoundError: a file is missing.
        ValueError: a file is damaged, or of scans without a camera or classes that the data set does not take; the
            message names it.
    """
    if _unscoped(dataset["type"]) not in SCANS:
        return
    path = Path(dataset.get("data_root") or "", dataset["ann_file"])
    if _unscoped(dataset["type"]) == "LidarDataset":
        read_infos(path)
        known = read_info_classes(path)
        _check_known((dataset.get("metainfo") or {}).get("classes") or known, known, path)
    elif None in read_image_sizes(path).values():
        raise ValueError(
            f"{path} is of scans without a camera, but this config cuts scans to the image: train second_own_small, or"
            " another config with lidar_rank.LidarDataset"
        )
    for step in dataset.get("pipeline", []):
        if "db_sampler" in step:
            read_database_infos(Path(step["db_sampler"]["info_path"]))


def _unscoped(name: str) -> str:
    """The name of a registered class without the scope before it, such as ``mmdet3d.``."""
    return str(name).rpartition(".")[2]


def _boxes_of_class(objects: KittiObjects, class_name: str) -> list[tuple[list[float], int]]:
    """Left, top, right, bottom of each object that counts for a class, and 1 where it is to be ignored."""
    role = object_roles(objects, class_name, drop_at_min_height=False)[-1].copy()
    role[is_named(objects, "DontCare")] = IGNORED
    return [
        (box.tolist(), int(of_class == IGNORED))
        for box, of_class in zip(objects.bbox_px, role, strict=True)
        if of_class != NO_ROLE
    ]
