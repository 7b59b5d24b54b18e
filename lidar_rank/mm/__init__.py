"""The host seam: the only folder that imports mmengine, mmcv, mmdet and mmdet3d."""
