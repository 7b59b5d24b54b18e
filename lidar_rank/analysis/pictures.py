"""Pictures of a frame and of the losses of a training. matplotlib is imported when a picture is drawn."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Final

from numpy import ndarray

from lidar_rank.shapes import Float, UInt8

if TYPE_CHECKING:
    from matplotlib.figure import Figure

TRUE_COLOUR: Final = "tab:green"
PREDICTED_COLOUR: Final = "tab:red"
# The two corners of each edge of a box, with the corners in the order of `kitti.predictions.box_corners`.
EDGES: Final = ((0, 2), (2, 6), (6, 4), (4, 0), (1, 3), (3, 7), (7, 5), (5, 1), (0, 1), (2, 3), (4, 5), (6, 7))
BOTTOM: Final = (0, 2, 6, 4, 0)


def draw_bev(
    points_m: Float[ndarray, "point columns"],
    predicted_corners_m: Float[ndarray, "predicted 8 3"],
    true_corners_m: Float[ndarray, "object 8 3"],
    range_m: Sequence[float],
) -> "Figure":
    """Draw a scan and its boxes from above, with the sensor at the bottom.

    Args:
        points_m: x, y, ... in the LiDAR frame.
        predicted_corners_m: Corners of the predicted boxes in the LiDAR frame.
        true_corners_m: Corners of the objects.
        range_m: ``(x_min, y_min, z_min, x_max, y_max, z_max)`` to show.

    Returns:
        A figure without a window. Save it with ``figure.savefig(path)``.
    """
    figure = _figure(8, 8)
    axes = figure.add_subplot()
    axes.scatter(-points_m[:, 1], points_m[:, 0], s=0.2, c="0.4", linewidths=0)
    for corners, colour, name in _both(true_corners_m, predicted_corners_m):
        if len(corners):
            axes.plot([], [], color=colour, label=f"{len(corners)} {name}")
        for box in corners:
            axes.plot(-box[BOTTOM, 1], box[BOTTOM, 0], color=colour, linewidth=1.5)
    axes.set(xlim=(-range_m[4], -range_m[1]), ylim=(range_m[0], range_m[3]), aspect="equal")
    axes.set(xlabel="to the right (m)", ylabel="ahead (m)")
    if len(true_corners_m) or len(predicted_corners_m):
        axes.legend(loc="upper right")
    figure.set_layout_engine("tight")
    return figure


def draw_camera(
    image: UInt8[ndarray, "height width 3"],
    predicted_corners_px: Float[ndarray, "predicted 8 2"],
    true_corners_px: Float[ndarray, "object 8 2"],
) -> "Figure":
    """Draw the boxes into the camera image.

    Args:
        image: RGB.
        predicted_corners_px: Projected corners of the predicted boxes.
        true_corners_px: Projected corners of the objects.

    Returns:
        A figure without a window. Save it with ``figure.savefig(path)``.
    """
    height_px, width_px = image.shape[:2]
    figure = _figure(width_px / 100, height_px / 100)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.imshow(image)
    for corners, colour, name in _both(true_corners_px, predicted_corners_px):
        axes.plot([], [], color=colour, label=name)
        for box in corners:
            for edge in EDGES:
                axes.plot(*box[list(edge)].T, color=colour, linewidth=1)
    axes.set(xlim=(0, width_px), ylim=(height_px, 0))
    axes.axis("off")
    axes.legend(loc="upper right")
    return figure


def draw_losses(curves: Mapping[str, Sequence[float]], steps: Sequence[int]) -> "Figure":
    """Draw each loss over the training steps.

    Args:
        curves: Values at ``steps`` of each loss, by the name that the legend shows.
        steps: Training steps, common to all curves.

    Returns:
        A figure without a window. Save it with ``figure.savefig(path)``.
    """
    figure = _figure(8, 5)
    axes = figure.add_subplot()
    for name, values in curves.items():
        axes.plot(steps, values, label=name)
    axes.set(xlabel="step", ylabel="loss", yscale="log")
    axes.legend()
    return figure


def _both(true: ndarray, predicted: ndarray) -> tuple[tuple[ndarray, str, str], tuple[ndarray, str, str]]:
    return (true, TRUE_COLOUR, "objects"), (predicted, PREDICTED_COLOUR, "predicted")


def _figure(width_inch: float, height_inch: float) -> "Figure":
    from matplotlib.figure import Figure

    return Figure(figsize=(width_inch, height_inch), dpi=100)
