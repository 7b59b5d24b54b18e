"""One HTML file that shows scans and boxes in 3D, in any browser and without a network."""

from lidar_rank.page.scene import Scene, match_boxes
from lidar_rank.page.write import render_page

__all__ = ["Scene", "match_boxes", "render_page"]
