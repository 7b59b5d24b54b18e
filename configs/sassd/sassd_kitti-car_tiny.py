# SA-SSD that learns from simulated scans in minutes, for tools/ablation.py, as second_kitti-car_tiny.py.
_base_ = ["./sassd_kitti-car_small.py"]

voxel_size = [0.16, 0.16, 0.2]
model = dict(
    data_preprocessor=dict(voxel_layer=dict(voxel_size=voxel_size)),
    middle_encoder=dict(sparse_shape=(20, 240, 240)),
    backbone=dict(depth=3),
    auxiliary=dict(voxel_size_m=voxel_size),
    bbox_head=dict(voxel_size=voxel_size),
)
train_dataloader = dict(batch_size=2, dataset=dict(times=1, dataset=dict(pipeline=_base_.mild_car_pipeline)))

epochs = 2
param_scheduler = [dict(_base_.one_cycle, total_steps=epochs)]
train_cfg = dict(max_epochs=epochs, val_interval=epochs)
