"""RoIAlign (He et al., Mask R-CNN, 2017, section 3), forward and backward, each step rounded as in mmcv's operator.

The bins of a region are sampled on a grid, and each sample is interpolated between four pixels. Which pixels, and with
which weights, is the same for all channels: it is found once for each region.
"""

import math

import numpy as np
from numpy import ndarray

from lidar_rank.kernels.jit import kernel

MAX, MEAN = 0, 1
"""Pool modes, numbered as in mmcv."""
_NOTHING_FOUND = -1
_LOWEST = -10000
"""Where mmcv's search for the largest sample begins; smaller samples are not found."""


@kernel(error_model="numpy")
def pool_regions(
    features: ndarray,
    rois: ndarray,
    pooled: ndarray,
    argmax_y: ndarray,
    argmax_x: ndarray,
    spatial_scale: float,
    sampling_ratio: int,
    pool_mode: int,
    aligned: bool,
) -> None:
    """Pool the features of each region into bins.

    Args:
        features: (B, C, H, W), float32 or float64; all other numbers have this dtype.
        rois: (R, 5), row of the batch, x_min, y_min, x_max, y_max in pixels of the image, finite.
        pooled: (R, C, h, w), written.
        argmax_y: As ``pooled`` for MAX, otherwise empty; written: y of the largest sample of each bin, -1 if none.
        argmax_x: The same for x.
        spatial_scale: Pixels of the feature map per pixel of the image.
        sampling_ratio: Samples per bin and axis; 0 takes as many as a bin has pixels, rounded up.
        pool_mode: MAX or MEAN.
        aligned: Whether pixel i covers i - 0.5 to i + 0.5 rather than i to i + 1.
    """
    number = pooled.dtype.type
    num_rois, channels, bins_y, bins_x = pooled.shape
    height, width = features.shape[2:]
    for r in range(num_rois):
        positions, pixels, weights = _sample(
            rois[r], bins_y, bins_x, height, width, spatial_scale, sampling_ratio, aligned
        )
        num_bins, num_samples, _ = positions.shape
        count = number(max(num_samples, 1))
        for c in range(channels):
            plane = features[int(rois[r, 0]), c].reshape(height * width)
            for b in range(num_bins):
                total, largest, at = number(0), number(_LOWEST), _NOTHING_FOUND
                for s in range(num_samples):
                    value = (
                        weights[b, s, 0] * plane[pixels[b, s, 0]]
                        + weights[b, s, 1] * plane[pixels[b, s, 1]]
                        + weights[b, s, 2] * plane[pixels[b, s, 2]]
                        + weights[b, s, 3] * plane[pixels[b, s, 3]]
                    )
                    total += value
                    if value > largest:
                        largest, at = value, s
                if pool_mode == MEAN:
                    pooled[r, c, b // bins_x, b % bins_x] = total / count
                else:
                    pooled[r, c, b // bins_x, b % bins_x] = largest
                    found = at != _NOTHING_FOUND
                    argmax_y[r, c, b // bins_x, b % bins_x] = positions[b, at, 0] if found else _NOTHING_FOUND
                    argmax_x[r, c, b // bins_x, b % bins_x] = positions[b, at, 1] if found else _NOTHING_FOUND


@kernel(error_model="numpy")
def pool_regions_backward(
    grad_pooled: ndarray,
    rois: ndarray,
    argmax_y: ndarray,
    argmax_x: ndarray,
    grad_features: ndarray,
    spatial_scale: float,
    sampling_ratio: int,
    pool_mode: int,
    aligned: bool,
) -> None:
    """Add the gradient with respect to the features of :func:`pool_regions`.

    Args:
        grad_pooled: (R, C, h, w), gradient with respect to ``pooled``.
        rois: As in :func:`pool_regions`.
        argmax_y: As written there.
        argmax_x: As written there.
        grad_features: (B, C, H, W), added to.
        spatial_scale: See there.
        sampling_ratio: See there.
        pool_mode: See there.
        aligned: See there.
    """
    num_rois, channels, bins_y, bins_x = grad_pooled.shape
    height, width = grad_features.shape[2:]
    largest_pixels, largest_weights = np.empty(4, np.uint32), np.empty(4, grad_pooled.dtype)
    for r in range(num_rois):
        positions, pixels, weights = _sample(
            rois[r], bins_y, bins_x, height, width, spatial_scale, sampling_ratio, aligned
        )
        num_bins, num_samples, _ = positions.shape
        count = grad_pooled.dtype.type(num_samples)
        for c in range(channels):
            plane = grad_features[int(rois[r, 0]), c].reshape(height * width)
            for b in range(num_bins):
                grad = grad_pooled[r, c, b // bins_x, b % bins_x]
                if pool_mode == MEAN:
                    for s in range(num_samples):
                        for side in range(4):
                            plane[pixels[b, s, side]] += grad * weights[b, s, side] / count
                else:
                    y, x = argmax_y[r, c, b // bins_x, b % bins_x], argmax_x[r, c, b // bins_x, b % bins_x]
                    if y != _NOTHING_FOUND:
                        _interpolate(y, x, height, width, largest_pixels, largest_weights)
                        for side in range(4):
                            plane[largest_pixels[side]] += grad * largest_weights[side]


@kernel(error_model="numpy")
def _sample(
    roi: ndarray,
    bins_y: int,
    bins_x: int,
    height: int,
    width: int,
    spatial_scale: float,
    sampling_ratio: int,
    aligned: bool,
) -> tuple[ndarray, ndarray, ndarray]:
    """Return y, x of the samples, (bin, sample, 2), their four pixels and those pixels' weights, (bin, sample, 4)."""
    number = roi.dtype.type
    start_y, bin_y, grid_y = _bins(roi[2], roi[4], number(bins_y), spatial_scale, sampling_ratio, aligned)
    start_x, bin_x, grid_x = _bins(roi[1], roi[3], number(bins_x), spatial_scale, sampling_ratio, aligned)
    shape = (bins_y * bins_x, grid_y * grid_x)
    positions = np.empty((*shape, 2), roi.dtype)
    pixels, weights = np.empty((*shape, 4), np.uint32), np.empty((*shape, 4), roi.dtype)
    for b in range(shape[0]):
        for s in range(shape[1]):
            in_y, in_x = number(s // grid_x + 0.5), number(s % grid_x + 0.5)
            positions[b, s, 0] = start_y + number(b // bins_x) * bin_y + in_y * bin_y / number(grid_y)
            positions[b, s, 1] = start_x + number(b % bins_x) * bin_x + in_x * bin_x / number(grid_x)
            _interpolate(positions[b, s, 0], positions[b, s, 1], height, width, pixels[b, s], weights[b, s])
    return positions, pixels, weights


@kernel(error_model="numpy")
def _bins(
    low: float, high: float, num_bins: float, spatial_scale: float, sampling_ratio: int, aligned: bool
) -> tuple[float, float, int]:
    """Start of a region along an axis, length of its bins, samples of each."""
    number = type(num_bins)
    offset = number(0.5) if aligned else number(0)
    start = low * spatial_scale - offset
    length = high * spatial_scale - offset - start
    bin_length = (length if aligned else max(length, number(1))) / num_bins
    return start, bin_length, sampling_ratio if sampling_ratio > 0 else math.ceil(np.float32(bin_length))


@kernel(error_model="numpy")
def _interpolate(y: float, x: float, height: int, width: int, pixels: ndarray, weights: ndarray) -> None:
    """Write the four pixels around a position, in a map whose rows follow each other, and their weights."""
    if y < -1 or y > height or x < -1 or x > width:
        pixels[:], weights[:] = 0, 0
        return
    y_low, y_high, of_y_low, of_y_high = _neighbours(y, height)
    x_low, x_high, of_x_low, of_x_high = _neighbours(x, width)
    pixels[0], weights[0] = y_low * width + x_low, of_y_low * of_x_low
    pixels[1], weights[1] = y_low * width + x_high, of_y_low * of_x_high
    pixels[2], weights[2] = y_high * width + x_low, of_y_high * of_x_low
    pixels[3], weights[3] = y_high * width + x_high, of_y_high * of_x_high


@kernel(error_model="numpy")
def _neighbours(position: float, size: int) -> tuple[int, int, float, float]:
    """Pixels below and above a position along an axis, and their weights."""
    number = type(position)
    position = max(position, number(0))
    low = int(position)
    if low >= size - 1:
        return size - 1, size - 1, number(1), number(0)
    of_high = position - number(low)
    return low, low + 1, number(1) - of_high, of_high
