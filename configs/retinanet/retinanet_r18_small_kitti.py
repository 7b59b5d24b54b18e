# A thin RetinaNet for KITTI's images, real or simulated, on one CPU core.
_base_ = ["../_base_/retinanet_r18_small.py", "../_base_/kitti_image_small.py", "../_base_/small.py"]
