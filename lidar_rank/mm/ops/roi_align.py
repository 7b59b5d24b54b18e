"""RoIAlign: the features of a region, interpolated at the points of a grid and pooled into bins."""

from itertools import product

import torch
from jaxtyping import Float
from torch import Tensor

from lidar_rank.kernels.roi_align import MAX, MEAN, pool_regions, pool_regions_backward
from lidar_rank.mm.ops import dispatch


@torch.no_grad()
def roi_align_forward(
    input: Float[Tensor, "image channel height width"],
    rois: Float[Tensor, "roi 5"],
    output: Float[Tensor, "roi channel bin_y bin_x"],
    argmax_y: Tensor,
    argmax_x: Tensor,
    aligned_height: int,
    aligned_width: int,
    spatial_scale: float,
    sampling_ratio: int,
    pool_mode: int,
    aligned: bool,
) -> None:
    """Pool the features of each region into bins. float16 is computed in float32.

    Args:
        input: Features.
        rois: Row of the image, x_min, y_min, x_max, y_max in pixels of the image, of the dtype of ``input``.
        output: Written.
        argmax_y: For maxima as ``output``, otherwise empty; written: where the largest sample of a bin lies.
        argmax_x: The same for x.
        aligned_height: Bins along y.
        aligned_width: Bins along x.
        spatial_scale: Pixels of the feature map per pixel of the image.
        sampling_ratio: Samples per bin and axis; 0 takes as many as a bin has pixels, rounded up.
        pool_mode: 0 for the maximum, on CPUs only, and 1 for the mean.
        aligned: Whether pixel i covers i - 0.5 to i + 0.5 rather than i to i + 1.

    Raises:
        NotImplementedError: maxima elsewhere than on a CPU.
        TypeError: the dtype is none of float16, float32 and float64, or that of the regions is another.
        ValueError: a region is not finite, or lies in an image that is not there, or, on a CPU, ends before it begins.
    """
    bins = aligned_height, aligned_width
    if input.dtype == torch.float16:
        settings = *bins, spatial_scale, sampling_ratio, pool_mode, aligned
        dispatch.in_float32(roi_align_forward, (input, rois), (output, argmax_y, argmax_x), *settings)
        return
    _check(input, rois, spatial_scale, pool_mode, aligned)
    if dispatch.uses_numba(input):
        argmax = (argmax_y, argmax_x) if pool_mode == MAX else (output[:0], output[:0])
        arrays = (tensor.detach().numpy() for tensor in (input.contiguous(), rois.contiguous(), output, *argmax))
        pool_regions(*arrays, _scalar(spatial_scale, rois), sampling_ratio, pool_mode, aligned)
    else:
        weights = _bin_weights(rois, input.shape, bins, spatial_scale, sampling_ratio, aligned)
        pooled = _product(weights, input.permute(0, 2, 3, 1).flatten(0, 2))
        output.copy_(pooled.view(len(rois), *bins, input.shape[1]).permute(0, 3, 1, 2))


@torch.no_grad()
def roi_align_backward(
    grad_output: Float[Tensor, "roi channel bin_y bin_x"],
    rois: Float[Tensor, "roi 5"],
    argmax_y: Tensor,
    argmax_x: Tensor,
    grad_input: Float[Tensor, "image channel height width"],
    aligned_height: int,
    aligned_width: int,
    spatial_scale: float,
    sampling_ratio: int,
    pool_mode: int,
    aligned: bool,
) -> None:
    """Add the gradient with respect to ``input`` of :func:`roi_align_forward` to ``grad_input``.

    Args:
        grad_output: Gradient with respect to ``output``.
        rois: As in :func:`roi_align_forward`, and so for what is not listed here.
        argmax_y: As written there.
        argmax_x: As written there.
        grad_input: Added to.
        aligned_height: See there.
        aligned_width: See there.
        spatial_scale: See there.
        sampling_ratio: See there.
        pool_mode: See there.
        aligned: See there.
    """
    bins = aligned_height, aligned_width
    if grad_input.dtype == torch.float16:
        settings = *bins, spatial_scale, sampling_ratio, pool_mode, aligned
        dispatch.in_float32(roi_align_backward, (grad_output, rois, argmax_y, argmax_x), (grad_input,), *settings)
        return
    _check(grad_input, rois, spatial_scale, pool_mode, aligned)
    if dispatch.uses_numba(grad_input):
        argmax = (argmax_y, argmax_x) if pool_mode == MAX else (grad_output[:0], grad_output[:0])
        tensors = grad_output.contiguous(), rois.contiguous(), *argmax, grad_input
        arrays = (tensor.detach().numpy() for tensor in tensors)
        pool_regions_backward(*arrays, _scalar(spatial_scale, rois), sampling_ratio, pool_mode, aligned)
    else:
        weights = _bin_weights(rois, grad_input.shape, bins, spatial_scale, sampling_ratio, aligned)
        grad = _product(weights.t(), grad_output.permute(0, 2, 3, 1).flatten(0, 2))
        grad_input.permute(0, 2, 3, 1).add_(grad.view(grad_input.permute(0, 2, 3, 1).shape))


def _check(features: Tensor, rois: Tensor, spatial_scale: float, pool_mode: int, aligned: bool) -> None:
    dispatch.check_dtype("roi_align", features, torch.float16, torch.float32, torch.float64)
    dispatch.check_dtype("roi_align with such features, for its regions,", rois, features.dtype)
    bad = ~rois.isfinite().all(1) | (rois[:, 0] < 0) | (rois[:, 0] >= len(features))
    if dispatch.uses_numba(features):
        if aligned:
            # As in mmcv: regions of negative size stop a CPU, and have no samples elsewhere.
            start, end = (rois[:, 1:] * spatial_scale - 0.5).split(2, dim=1)
            bad |= (end - start < 0).any(1)
    elif pool_mode != MEAN:
        raise NotImplementedError("roi_align of maxima on this device needs compiled mmcv: use pool_mode='avg'")
    if bad.any():
        row = int(bad.nonzero()[0])
        raise ValueError(
            f"rois[{row}] is {rois[row].tolist()}: row of the image, x_min, y_min, x_max, y_max must be finite, the row"
            f" below {len(features)} and no maximum below its minimum; look where the region was made"
        )


def _scalar(value: float, like: Tensor) -> float:
    """The number, rounded to float32 as in mmcv, as a numpy scalar of a tensor's dtype: numba computes in that."""
    return torch.tensor(value, dtype=torch.float32).to(like.dtype).numpy()[()]


def _product(sparse: Tensor, dense: Tensor) -> Tensor:
    with torch.autocast(dense.device.type, enabled=False):  # which would round both to half precision
        return torch.sparse.mm(sparse, dense)


def _bin_weights(
    rois: Float[Tensor, "roi 5"],
    shape: torch.Size,
    bins: tuple[int, int],
    spatial_scale: float,
    sampling_ratio: int,
    aligned: bool,
) -> Float[Tensor, "bin pixel"]:
    """Sparse matrix that takes the pixels of all images to the bins of all regions: RoIAlign is linear in them.

    What has two columns has y before x.
    """
    images, _, height, width = shape
    size, num_bins = torch.tensor([[height, width], bins], device=rois.device)
    start, end = (rois[:, [2, 1, 4, 3]] * spatial_scale - 0.5 * aligned).split(2, dim=1)
    length = end - start if aligned else (end - start).clamp(min=1)
    bin_length = length / num_bins
    grid = bin_length.ceil().clamp(min=0) if sampling_ratio <= 0 else torch.full_like(length, sampling_ratio)
    grid = grid.long()
    # From here on one row for each sample of each region.
    of_axis = grid * num_bins
    of_roi = of_axis.prod(1)
    roi = torch.arange(len(rois), device=rois.device).repeat_interleave(of_roi)
    index = torch.arange(len(roi), device=rois.device) - (of_roi.cumsum(0) - of_roi)[roi]
    index = torch.stack([index // of_axis[roi, 1], index % of_axis[roi, 1]], dim=1)
    in_bin, of_bin = index // grid[roi], index % grid[roi]
    position = start[roi] + in_bin * bin_length[roi] + (of_bin + 0.5) * bin_length[roi] / grid[roi]
    share = ((position >= -1) & (position <= size)).all(1) / grid[roi].prod(1)
    position = position.clamp(min=0)
    low = position.long().minimum(size - 1)
    of_high = (position - low).where(low < size - 1, 0)
    sides = (low, 1 - of_high), ((low + 1).minimum(size - 1), of_high)
    image, row = rois[roi, 0].long(), (roi * bins[0] + in_bin[:, 0]) * bins[1] + in_bin[:, 1]
    columns, weights = [], []
    for (y, weight_y), (x, weight_x) in product(sides, sides):
        columns.append((image * height + y[:, 0]) * width + x[:, 1])
        weights.append(weight_y[:, 0] * weight_x[:, 1] * share)
    return torch.sparse_coo_tensor(
        torch.stack([row.repeat(4), torch.cat(columns)]),
        torch.cat(weights).to(rois.dtype),
        (len(rois) * bins[0] * bins[1], images * height * width),
        check_invariants=False,
    )
