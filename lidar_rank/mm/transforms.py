"""Transforms of scans that the host lacks, or gets wrong."""

from mmdet3d.datasets.transforms.dbsampler import DataBaseSampler
from mmengine.logging import MMLogger

from lidar_rank.mm.registry import TRANSFORMS


@TRANSFORMS.register_module()
class ObjectDatabase(DataBaseSampler):
    """The host's ``DataBaseSampler``, for a database that may hold no object of a class.

    The host fails before or at the first scan if a class of ``sample_groups`` has no object in the database, or none
    that passes the filters. Here nothing of such a class is pasted, and a warning says so once. Options are the host's.

    Raises:
        ValueError: ``sample_groups`` names a class that is not among ``classes``.
    """

    def __init__(self, *args, sample_groups: dict[str, int], classes: list[str], **kwargs) -> None:
        unknown = [name for name in sample_groups if name not in classes]
        if unknown:
            raise ValueError(f"sample_groups names {', '.join(unknown)}, which is not among the classes {classes}")
        super().__init__(*args, sample_groups=sample_groups, classes=classes, **kwargs)
        absent = [name for name in self.sample_classes if not self.db_infos.get(name)]
        if absent:
            MMLogger.get_current_instance().warning(
                f"no object of {', '.join(absent)} in {self.info_path} passes the filters: none will be pasted"
            )
        present = [(name, number) for name, number in sample_groups.items() if name not in absent]
        self.sample_classes, self.sample_max_nums = (
            [name for name, _ in present],
            [int(number) for _, number in present],
        )

    @staticmethod
    def filter_by_min_points(db_infos: dict, min_gt_points_dict: dict) -> dict:
        """Filter as the host does, which expects every class that it filters."""
        wanted = {name: number for name, number in min_gt_points_dict.items() if name in db_infos}
        return DataBaseSampler.filter_by_min_points(db_infos, wanted)
