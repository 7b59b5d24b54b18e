# A network that knows simulated scans learns the real ones too: a short cycle that does not wash out what it knows,
# with the augmentation of its first training and a tenth of its learning rates.
_base_ = ["./second_kitti-car_small.py"]

load_from = "work_dirs/second_kitti-car_small_simulated/epoch_2.pth"
train_dataloader = dict(dataset=dict(dataset=dict(pipeline=_base_.mild_car_pipeline)))

epochs = 10
optim_wrapper = dict(optimizer=dict(lr=0.00003))
param_scheduler = [dict(_base_.one_cycle, total_steps=epochs, eta_max=0.0003, pct_start=0.2)]
train_cfg = dict(max_epochs=epochs, val_interval=5)
