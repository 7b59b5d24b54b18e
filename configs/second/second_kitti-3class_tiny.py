# The three classes of KITTI, from simulated scans in minutes, as second_kitti-car_tiny.py.
_base_ = ["./second_kitti-3class_small.py"]

from lidar_rank.config_files import mild  # noqa: E402

model = dict(
    data_preprocessor=dict(voxel_layer=dict(voxel_size=[0.16, 0.16, 0.2])),
    middle_encoder=dict(sparse_shape=[21, 240, 240], encoder_channels=((16,), (16, 16), (32, 32))),
    backbone=dict(layer_nums=[2, 2]),
)
pipeline = mild(_base_.train_pipeline)
train_dataloader = dict(batch_size=2, dataset=dict(times=1, dataset=dict(pipeline=pipeline)))

epochs = 2
param_scheduler = [dict(_base_.one_cycle, total_steps=epochs)]
train_cfg = dict(max_epochs=epochs, val_interval=epochs)
