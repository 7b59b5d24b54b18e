"""One HTML file that shows scans, boxes and results, in any browser and without a network."""

from lidar_rank.page.report import render_report
from lidar_rank.page.run import Results, Run, read_run
from lidar_rank.page.scene import Objects, Picture, Predictions, Scene, SceneReader, scene_of_detections
from lidar_rank.page.write import Page, render_page

__all__ = [
    "Objects",
    "Page",
    "Picture",
    "Predictions",
    "Results",
    "Run",
    "Scene",
    "SceneReader",
    "read_run",
    "render_page",
    "render_report",
    "scene_of_detections",
]
