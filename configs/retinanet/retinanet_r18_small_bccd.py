# A thin RetinaNet for blood cells, on one CPU core.
_base_ = [
    "../_base_/models/retinanet_r18_small.py",
    "../_base_/data/bccd.py",
    "../_base_/schedules/small_images.py",
    "../_base_/losses/dense.py",
]
