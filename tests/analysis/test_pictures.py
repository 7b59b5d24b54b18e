"""Pictures show their inputs at the right places."""

import numpy as np

from lidar_rank.analysis import pictures

BOX = np.array([(x, y, z) for x in (8.0, 12.0) for y in (1.0, 3.0) for z in (-1.7, 0.0)])[None]
NONE = np.zeros((0, 8, 3))


def drawn(figure, colour):
    return [line.get_xydata() for line in figure.axes[0].lines if line.get_color() == colour and len(line.get_xydata())]


def test_bird_s_eye_view_draws_footprints_ahead_and_to_the_left():
    figure = pictures.draw_bev(np.array([[5.0, 0.0, 0.0, 0.3]]), NONE, BOX, (0, -20, -3, 40, 20, 1))
    (footprint,) = drawn(figure, pictures.TRUE_COLOUR)
    assert footprint.min(axis=0).tolist() == [-3.0, 8.0]
    assert footprint.max(axis=0).tolist() == [-1.0, 12.0]
    assert len(np.unique(footprint, axis=0)) == 4
    assert drawn(figure, pictures.PREDICTED_COLOUR) == []


def test_camera_view_draws_twelve_edges_along_the_axes_of_each_box(tmp_path):
    image = np.zeros((40, 120, 3), dtype=np.uint8)
    pixels = BOX[..., :2] + BOX[..., 2:]
    figure = pictures.draw_camera(image, pixels, NONE[..., :2])
    edges = drawn(figure, pictures.PREDICTED_COLOUR)
    assert len(edges) == 12
    lengths = sorted(round(float(np.abs(edge[1] - edge[0]).sum()), 6) for edge in edges)
    assert lengths == [2.0] * 4 + [3.4] * 4 + [4.0] * 4, "no diagonal is drawn"
    figure.savefig(tmp_path / "camera.png")


def test_losses_are_curves_over_steps():
    figure = pictures.draw_losses({"loss": [3.0, 1.0], "loss_cls": [2.0, 0.5]}, [10, 20])
    assert [line.get_label() for line in figure.axes[0].lines] == ["loss", "loss_cls"]
    assert figure.axes[0].lines[1].get_xydata().tolist() == [[10, 2.0], [20, 0.5]]
