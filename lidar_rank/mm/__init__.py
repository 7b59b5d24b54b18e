"""The host seam: the only folder that imports mmengine, mmcv, mmdet and mmdet3d; importing it registers everything."""

import warnings

# mmengine 0.10.7 imports pkg_resources, which the pinned setuptools has but warns of.
warnings.filterwarnings("ignore", message="pkg_resources is deprecated")

from lidar_rank.mm import compat, ops  # noqa: E402

ops.install()
compat.apply()

from lidar_rank.mm import (  # noqa: E402
    assigner,  # noqa: F401
    datasets,  # noqa: F401
    heads,  # noqa: F401
    hooks,  # noqa: F401
    losses,  # noqa: F401
    metrics,  # noqa: F401
    optim,  # noqa: F401
    sassd,  # noqa: F401
)
