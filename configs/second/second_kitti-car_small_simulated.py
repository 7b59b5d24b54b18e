# Trained on simulated scans alone, tested on real ones: `lidar-rank simulate` and `create-data` make data/simulated,
# or the environment variable SIMULATED_ROOT says where they lie.
_base_ = ["./second_kitti-car_small.py"]

simulated_root = "{{$SIMULATED_ROOT:data/simulated}}"
database = dict(data_root=simulated_root, info_path=simulated_root + "/kitti_dbinfos_train.pkl")
train_pipeline = [
    dict(step, db_sampler=dict(step.db_sampler, **database)) if step.type == "ObjectSample" else step
    for step in _base_.mild_car_pipeline
]
# Of simulated scans there are as many as wanted: every pass has new ones.
train_dataloader = dict(dataset=dict(times=1, dataset=dict(data_root=simulated_root, pipeline=train_pipeline)))

epochs = 2
param_scheduler = [dict(_base_.one_cycle, total_steps=epochs)]
train_cfg = dict(max_epochs=epochs, val_interval=1)
