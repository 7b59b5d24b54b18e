"""Where mmengine looks when a config names the scope ``lidar_rank``: importing it registers everything."""

import lidar_rank.mm  # noqa: F401
