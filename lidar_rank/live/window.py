"""The scenes of runs in a window of Open3D."""

import os
import sys
from typing import Any

import numpy as np

from lidar_rank.live.scenes import RunScenes, boxes_at, point_colours, rgb

BACKGROUND = "#14171c"
INSTEAD = "show the scans in a browser with --port 8080, or draw one with --picture FILE"
HELP = "n, p: next, previous scan; m: next run; +, -: score; t, r: from above, from behind; q: end"
SCORE_STEP = 0.05
# Key codes of GLFW, which Open3D takes, and what they are called here. "=" is "+" without shift.
KEYS = {"n": ord("N"), "p": ord("P"), "m": ord("M"), "+": ord("="), "-": ord("-"), "t": ord("T"), "r": ord("R")}


def show_window(scenes: RunScenes, position: int, min_score: float) -> None:
    """Show the scenes in a window until it is closed.

    Args:
        scenes: Of scans.
        position: Of the scene to begin with.
        min_score: Predictions with a lower score are left out.

    Raises:
        OSError: there is no display.
        ImportError: Open3D is not installed.
    """
    if sys.platform == "linux" and not (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
        raise OSError(f"there is no display: {INSTEAD}")
    try:
        import open3d
    except ModuleNotFoundError as error:
        raise ImportError(f"a window needs open3d, which comes with lidar_rank[mmdet3d]: {INSTEAD}") from error
    window = open3d.visualization.VisualizerWithKeyCallback()
    if not window.create_window("lidar_rank", width=1400, height=800):
        raise OSError(f"the display {os.environ.get('DISPLAY', '')} takes no window of Open3D: {INSTEAD}")
    print(HELP)
    Window(open3d, window, scenes, position, min_score)
    window.run()
    window.destroy_window()


class Window:
    """What the keys change in a window of Open3D.

    Args:
        open3d: The module.
        window: With keys to register.
        scenes: As for :func:`show_window`.
        position: As for :func:`show_window`.
        min_score: As for :func:`show_window`.
    """

    def __init__(self, open3d: Any, window: Any, scenes: RunScenes, position: int, min_score: float) -> None:
        self._open3d, self._window, self._scenes = open3d, window, scenes
        self._position, self._run, self._min_score = position, 0, min_score
        actions = {
            "n": lambda: self._show(1),
            "p": lambda: self._show(-1),
            "m": self._next_run,
            "+": lambda: self._change_score(SCORE_STEP),
            "-": lambda: self._change_score(-SCORE_STEP),
            "t": self._from_above,
            "r": self._from_behind,
        }
        for name, action in actions.items():
            window.register_key_callback(KEYS[name], lambda _, action=action: bool(action()))
        window.get_render_option().background_color = np.array(rgb(BACKGROUND))
        window.get_render_option().point_size = 2.0
        self._draw(reset=True)
        self._from_behind()

    def _show(self, by: int) -> None:
        self._position = (self._position + by) % len(self._scenes.names)
        self._draw()

    def _next_run(self) -> None:
        self._run = (self._run + 1) % len(self._scenes.runs)
        self._draw()

    def _change_score(self, by: float) -> None:
        self._min_score = min(1.0, max(0.0, round(self._min_score + by, 2)))
        self._draw()

    def _draw(self, *, reset: bool = False) -> None:
        scene = self._scenes.read(self._scenes.names[self._position])
        shown = boxes_at(scene, self._run, self._min_score)
        self._window.clear_geometries()
        vectors = self._open3d.utility
        if scene.points is not None:
            cloud = self._open3d.geometry.PointCloud(vectors.Vector3dVector(scene.points[:, :3].astype(np.float64)))
            cloud.colors = vectors.Vector3dVector(point_colours(scene.points))
            self._window.add_geometry(cloud, reset_bounding_box=reset)
        ends = shown.lines.reshape(-1, 3)
        if len(ends):
            lines = self._open3d.geometry.LineSet(
                vectors.Vector3dVector(ends), vectors.Vector2iVector(np.arange(len(ends)).reshape(-1, 2))
            )
            per_box = len(ends) // 2 // len(shown.kinds)
            lines.colors = vectors.Vector3dVector(np.repeat(shown.colours, per_box, axis=0))
            self._window.add_geometry(lines, reset_bounding_box=reset)
        run = self._scenes.runs[self._run]
        note = f" ({scene.note})" if scene.note else ""
        print(f"{scene.name}, {run}, score at least {self._min_score:.2f}: {shown.summary}{note}", flush=True)

    def _from_above(self) -> None:
        self._look((0.0, 0.0, 1.0), (1.0, 0.0, 0.0), 0.7)

    def _from_behind(self) -> None:
        self._look((-0.9, 0.0, 0.43), (0.0, 0.0, 1.0), 0.25)

    def _look(self, front: tuple[float, ...], up: tuple[float, ...], zoom: float) -> None:
        control = self._window.get_view_control()
        control.set_lookat((12.0, 0.0, 0.0))
        control.set_front(front)
        control.set_up(up)
        control.set_zoom(zoom)
