# The schedule of `make demo`: few passes over many simulated scans, which cost less to make than to train on, in small
# batches and with mild augmentation; voxels of 0.16 m and fewer layers, so that minutes suffice.
_base_ = ["./second_focal-rankdet-iou_kitti-car_small.py"]

model = dict(
    data_preprocessor=dict(voxel_layer=dict(voxel_size=[0.16, 0.16, 0.2])),
    middle_encoder=dict(sparse_shape=[21, 240, 240], encoder_channels=((16,), (16, 16), (32, 32))),
    backbone=dict(layer_nums=[2, 2]),
)

train_pipeline = [step for step in _base_.train_pipeline if step.type != "ObjectNoise"]
for transform in train_pipeline:
    if transform.type == "GlobalRotScaleTrans":
        transform.rot_range = [-0.25, 0.25]
train_dataloader = dict(batch_size=2, dataset=dict(times=1, dataset=dict(pipeline=train_pipeline)))

epochs = 2
param_scheduler = _base_.param_scheduler
param_scheduler[0].total_steps = epochs
train_cfg = dict(max_epochs=epochs, val_interval=epochs)
