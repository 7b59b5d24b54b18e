"""The scenes of runs outside of a page: in a window, in a browser on another machine, or as a picture."""

from lidar_rank.live.picture import draw_picture
from lidar_rank.live.remote import serve
from lidar_rank.live.scenes import RunScenes
from lidar_rank.live.window import show_window

__all__ = ["RunScenes", "draw_picture", "serve", "show_window"]
