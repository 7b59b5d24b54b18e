# SECOND that learns from simulated scans in minutes, for `lidar-rank demo` and tools/ablation.py: voxels of 0.16 m,
# fewer layers, and few passes over many scans, which cost less to make than to train on, in small batches.
_base_ = ["./second_kitti-car_small.py"]

model = dict(
    data_preprocessor=dict(voxel_layer=dict(voxel_size=[0.16, 0.16, 0.2])),
    middle_encoder=dict(sparse_shape=[21, 240, 240], encoder_channels=((16,), (16, 16), (32, 32))),
    backbone=dict(layer_nums=[2, 2]),
)
train_dataloader = dict(batch_size=2, dataset=dict(times=1, dataset=dict(pipeline=_base_.mild_car_pipeline)))

epochs = 2
param_scheduler = [dict(_base_.one_cycle, total_steps=epochs)]
train_cfg = dict(max_epochs=epochs, val_interval=epochs)
