# A thin RetinaNet for blood cells, on one CPU core.
_base_ = ["../_base_/retinanet_r18_small.py", "../_base_/bccd.py", "../_base_/small.py"]
