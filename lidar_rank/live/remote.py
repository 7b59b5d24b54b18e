"""The scenes of runs in a browser, through viser, for a machine without a display."""

import socket
import time
from typing import Any

import numpy as np

from lidar_rank.live.scenes import RunScenes, boxes_at, point_colours

LOOPBACK = "127.0.0.1"
POINT_M, LINE_PX = 0.05, 2.5
GAMMA = 2.2  # of colours of lines, which viser takes for linear ones, unlike those of points
VIEWPOINT_M, TARGET_M = (-17.0, 0.0, 14.0), (12.0, 0.0, 0.0)


def serve(scenes: RunScenes, position: int, min_score: float, *, port: int, host: str = LOOPBACK) -> None:
    """Show the scenes in browsers until the process is interrupted.

    Args:
        scenes: Of scans.
        position: Of the scene to begin with.
        min_score: Predictions with a lower score are left out; browsers can change it.
        port: To listen at.
        host: Address to listen at; the default is reached from this machine alone, or through an SSH tunnel.

    Raises:
        ModuleNotFoundError: viser is not installed.
        OSError: the port is in use or not allowed, or there is no such address.
    """
    import viser

    check_port(host, port)
    server = viser.ViserServer(host=host, port=port, label="lidar_rank", verbose=False)
    try:
        ScenePanel(server, scenes, position, min_score)
        print(f"http://{host}:{port} shows {len(scenes.names)} scans; Ctrl-C ends", flush=True)
        if host == LOOPBACK:
            print(
                f"from another machine: ssh -L {port}:localhost:{port} USER@THIS_MACHINE, then the same address there"
            )
        while True:
            time.sleep(1)
    finally:
        server.stop()


def check_port(host: str, port: int) -> None:
    """Raise an OSError that names the port where it cannot be listened at: viser would take another one silently."""
    try:
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((host, port))
    except (OSError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or error
        raise OSError(f"cannot listen at port {port} of {host} ({reason}): name another with --port") from error


class ScenePanel:
    """Controls in the browser, and the scene that they choose.

    Args:
        server: viser's.
        scenes: As for :func:`serve`.
        position: As for :func:`serve`.
        min_score: As for :func:`serve`.
    """

    def __init__(self, server: Any, scenes: RunScenes, position: int, min_score: float) -> None:
        self._server, self._scenes = server, scenes
        names = scenes.names
        self.scan = server.gui.add_dropdown("scan", names, initial_value=names[position])
        self.next = server.gui.add_button("next scan")
        self.run = server.gui.add_dropdown("run", scenes.runs, initial_value=scenes.runs[0])
        self.score = server.gui.add_slider("score at least", 0.0, 1.0, 0.01, min_score)
        self.objects = server.gui.add_checkbox("objects", initial_value=True)
        self.summary = server.gui.add_markdown("")
        self.scan.on_update(lambda _: self.draw_scan())
        self.next.on_click(lambda _: self._go_on())
        for control in (self.run, self.score, self.objects):
            control.on_update(lambda _: self.draw_boxes())
        server.gui.configure_theme(dark_mode=True)
        server.scene.set_up_direction("+z")
        server.initial_camera.position, server.initial_camera.look_at = VIEWPOINT_M, TARGET_M
        self.draw_scan()

    def draw_scan(self) -> None:
        """Draw points and boxes of the scan that is chosen."""
        points = self._scenes.read(self.scan.value).points
        points = np.zeros((0, 4), dtype=np.float32) if points is None else points
        colours = np.round(255 * point_colours(points)).astype(np.uint8)
        self._server.scene.add_point_cloud("/points", points[:, :3], colours, point_size=POINT_M)
        self.draw_boxes()

    def draw_boxes(self) -> None:
        """Draw the boxes of the chosen run at the chosen score."""
        scene = self._scenes.read(self.scan.value)
        shown = boxes_at(scene, self._scenes.runs.index(self.run.value), self.score.value)
        chosen = self.objects.value | ~np.isin(shown.kinds, ("object", "missed", "ignored"))
        lines = shown.lines[chosen]
        shades = np.round(255 * shown.colours[chosen] ** GAMMA)[:, None, None]
        colours = np.broadcast_to(shades, lines.shape).astype(np.uint8)
        ends = lines.reshape(-1, 2, 3), colours.reshape(-1, 2, 3)
        self._server.scene.add_line_segments("/boxes", *ends, thickness=LINE_PX, thickness_units="screen")
        self.summary.content = "  \n".join(filter(None, (shown.summary, scene.note)))

    def _go_on(self) -> None:
        names = self._scenes.names
        self.scan.value = names[(names.index(self.scan.value) + 1) % len(names)]
