"""Shape annotations of the losses."""

from lidar_rank.shapes import Bool, Float, Int

__all__ = ["Bool", "Float", "Int"]
