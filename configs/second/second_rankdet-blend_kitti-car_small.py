# Focal loss gives way to RankDetNet's losses little by little instead of at once.
_base_ = ["./second_rankdet_kitti-car_small.py"]
_base_.custom_hooks[-1].update(begin=0.25, end=0.75)
custom_hooks = _base_.custom_hooks
