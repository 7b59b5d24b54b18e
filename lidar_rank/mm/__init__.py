"""The only folder that imports mmengine, mmcv, mmdet and mmdet3d; importing it registers everything for configs."""

from lidar_rank.mm.deferred import defer_imports

with defer_imports():
    from lidar_rank.mm import compat, ops

    ops.install()
    compat.apply()

    import mmdet3d.evaluation  # noqa: F401 - the registry imports it otherwise, when imports are no longer deferred

    from lidar_rank.mm import (
        assigner,  # noqa: F401
        datasets,  # noqa: F401
        diagnostics,  # noqa: F401
        heads,  # noqa: F401
        hooks,  # noqa: F401
        losses,  # noqa: F401
        metrics,  # noqa: F401
        optim,  # noqa: F401
        sassd,  # noqa: F401
        schedules,  # noqa: F401
        transforms,  # noqa: F401
    )
