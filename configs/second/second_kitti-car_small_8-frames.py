# Eight training frames, no augmentation, tested on themselves: a network and a loss that are sound learn them by heart.
_base_ = ["./second_kitti-car_small.py"]

frames = [19, 23, 24, 25, 45, 53, 56, 59]  # of the shared split, those with the most cars

train_dataloader = dict(dataset=dict(times=10, dataset=dict(pipeline=_base_.plain_car_pipeline, indices=frames)))
val_dataloader = dict(dataset=dict(ann_file="kitti_infos_train.pkl", indices=frames))
test_dataloader = val_dataloader
val_evaluator = dict(ann_file="kitti_infos_train.pkl")
test_evaluator = val_evaluator

epochs = 30
param_scheduler = [dict(_base_.one_cycle, total_steps=epochs)]
train_cfg = dict(max_epochs=epochs, val_interval=10)
