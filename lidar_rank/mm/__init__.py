"""The host seam: the only folder that imports mmengine, mmcv, mmdet and mmdet3d; importing it registers everything."""

import warnings

# mmengine 0.10.7 imports pkg_resources, which the pinned setuptools has but warns of.
warnings.filterwarnings("ignore", message="pkg_resources is deprecated")

from lidar_rank.mm import compat  # noqa: E402

compat.apply()

from lidar_rank.mm import anchor3d_head, assigner, datasets2d, heads2d, hooks, losses, metrics, optim  # noqa: E402, F401
