# A network that knows simulated scans learns the real ones too: a short cycle that does not wash out what it knows.
_base_ = ["./second_kitti-car_small.py"]

load_from = "work_dirs/second_kitti-car_small_simulated/epoch_2.pth"

# As in the first training: cars stay in their places, turns stay small.
train_pipeline = [step for step in _base_.train_pipeline if step.type != "ObjectNoise"]
for step in train_pipeline:
    if step.type == "GlobalRotScaleTrans":
        step.rot_range = [-0.25, 0.25]
train_dataloader = dict(dataset=dict(dataset=dict(pipeline=train_pipeline)))

epochs = 10
# A tenth of the first training's rates.
optim_wrapper = dict(optimizer=dict(lr=0.00003))
param_scheduler = _base_.param_scheduler
param_scheduler[0].update(total_steps=epochs, eta_max=0.0003, pct_start=0.2)
train_cfg = dict(max_epochs=epochs, val_interval=5)
