# SECOND on a patch of 38.4 m x 38.4 m with 0.1 m voxels and a thin network: trains on two CPU cores.
_base_ = ["./second_kitti-car.py", "../_base_/schedules/small_scans.py"]

from lidar_rank.config_files import mild, within_range  # noqa: E402

point_cloud_range = _base_.small_range
voxel_size = [0.1, 0.1, 0.2]
sparse_norm = dict(_base_.small_norm, type="BN1d")
dense_norm = dict(_base_.small_norm, type="BN")

model = dict(
    data_preprocessor=dict(
        voxel_layer=dict(point_cloud_range=point_cloud_range, voxel_size=voxel_size, max_voxels=(16000, 16000))
    ),
    middle_encoder=dict(
        norm_cfg=sparse_norm,
        sparse_shape=[21, 384, 384],
        output_channels=32,
        encoder_channels=((16,), (32, 32), (32, 32)),
        encoder_paddings=((1,), (1, 1), (1, 1)),
    ),
    backbone=dict(norm_cfg=dense_norm, in_channels=64, layer_nums=[3, 3], out_channels=[64, 64]),
    neck=dict(norm_cfg=dense_norm, in_channels=[64, 64], out_channels=[64, 64]),
    bbox_head=dict(
        in_channels=128,
        feat_channels=128,
        anchor_generator=dict(
            type="AlignedAnchor3DRangeGenerator", ranges=[[0, -19.2, -1.78, 38.4, 19.2, -1.78]], align_corner=False
        ),
    ),
)

train_pipeline = within_range(_base_.train_pipeline, point_cloud_range)
test_pipeline = within_range(_base_.test_pipeline, point_cloud_range)
train_dataloader = dict(batch_size=4, num_workers=1, dataset=dict(dataset=dict(pipeline=train_pipeline)))
val_dataloader = dict(batch_size=4, dataset=dict(pipeline=test_pipeline))
test_dataloader = dict(batch_size=4, dataset=dict(pipeline=test_pipeline))
val_evaluator = _base_.small_evaluator
test_evaluator = _base_.small_evaluator

optim_wrapper = dict(optimizer=_base_.small_optimizer)
param_scheduler = [dict(_base_.one_cycle, total_steps=_base_.small_epochs)]
train_cfg = dict(max_epochs=_base_.small_epochs, val_interval=10)

# For configs on top of this one.
mild_car_pipeline = mild(train_pipeline)
augmentation = ("ObjectSample", "ObjectNoise", "RandomFlip3D", "GlobalRotScaleTrans")
plain_car_pipeline = [step for step in train_pipeline if step.type not in augmentation]
