# Trained on simulated scans alone, tested on real ones: `lidar-rank simulate` and `create-data` make data/simulated,
# or the environment variable SIMULATED_ROOT says where they lie.
_base_ = ["./second_kitti-car_small.py"]

simulated_root = "{{$SIMULATED_ROOT:data/simulated}}"
db_sampler = _base_.db_sampler
db_sampler.update(data_root=simulated_root, info_path=simulated_root + "/kitti_dbinfos_train.pkl")
# Of simulated scans there are as many as wanted: cars stay in their places, and turns stay small, since wide ones turn
# half of the patch out of what the scanner saw.
train_pipeline = [step for step in _base_.train_pipeline if step.type != "ObjectNoise"]
for step in train_pipeline:
    if step.type == "ObjectSample":
        step.db_sampler = db_sampler
    elif step.type == "GlobalRotScaleTrans":
        step.rot_range = [-0.25, 0.25]
train_dataloader = dict(dataset=dict(times=1, dataset=dict(data_root=simulated_root, pipeline=train_pipeline)))

epochs = 2
param_scheduler = _base_.param_scheduler
param_scheduler[0].total_steps = epochs
train_cfg = dict(max_epochs=epochs, val_interval=1)
