# The schedule of `make demo`: a few passes over some hundred simulated scans.
_base_ = ["./second_dr_kitti-car_small.py"]

epochs = 9
param_scheduler = [
    dict(type="OneCycleLR", eta_max=0.003, total_steps=epochs, pct_start=0.4, by_epoch=True, convert_to_iter_based=True)
]
train_dataloader = dict(dataset=dict(times=1))
train_cfg = dict(max_epochs=epochs, val_interval=epochs)
