# The schedule of `make demo`: a few passes over a thousand simulated scans, which cost less to make than to train on.
_base_ = ["./second_dr_kitti-car_small.py"]

epochs = 3
param_scheduler = _base_.param_scheduler
param_scheduler[0].total_steps = epochs
train_dataloader = dict(dataset=dict(times=1))
train_cfg = dict(max_epochs=epochs, val_interval=epochs)
