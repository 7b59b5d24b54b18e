# Eight training frames, no augmentation, tested on themselves: a network and a loss that are sound learn them by heart.
_base_ = ["./sassd_kitti-car_small.py"]

frames = [19, 23, 24, 25, 45, 53, 56, 59]  # of the shared split, those with the most cars

augmentation = ("ObjectSample", "ObjectNoise", "RandomFlip3D", "GlobalRotScaleTrans")
train_pipeline = [step for step in _base_.train_pipeline if step.type not in augmentation]
train_dataloader = dict(dataset=dict(times=10, dataset=dict(pipeline=train_pipeline, indices=frames)))
val_dataloader = dict(dataset=dict(ann_file="kitti_infos_train.pkl", indices=frames))
test_dataloader = val_dataloader
val_evaluator = dict(ann_file="kitti_infos_train.pkl")
test_evaluator = val_evaluator

epochs = 20
param_scheduler = _base_.param_scheduler
param_scheduler[0].total_steps = epochs
train_cfg = dict(max_epochs=epochs, val_interval=10)
