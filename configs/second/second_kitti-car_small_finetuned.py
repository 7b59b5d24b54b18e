# A network that knows simulated scans learns the real ones too: a short cycle that does not wash out what it knows.
_base_ = ["./second_kitti-car_small.py"]

load_from = "work_dirs/second_kitti-car_small_simulated/epoch_2.pth"

epochs = 10
optim_wrapper = dict(optimizer=dict(lr=0.0001))
param_scheduler = _base_.param_scheduler
param_scheduler[0].update(total_steps=epochs, eta_max=0.001, pct_start=0.2)
train_cfg = dict(max_epochs=epochs, val_interval=5)
