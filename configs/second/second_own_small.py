# SECOND for labelled scans of one's own, up to 41 m in every direction: the network of second_kitti-car_tiny, which
# trains on two CPU cores. With one class it can start from the weights that come with the package: --init second-car.
_base_ = ["./second_kitti-car_tiny.py", "../_base_/data/own_scans.py"]

from lidar_rank.config_files import on_own_scans  # noqa: E402

point_cloud_range = [-40.96, -40.96, -3, 40.96, 40.96, 1]
own = on_own_scans(_base_, point_cloud_range, _base_.mild_car_pipeline)
model = dict(
    own.pop("model"),
    data_preprocessor=dict(voxel_layer=dict(point_cloud_range=point_cloud_range, max_voxels=(40000, 40000))),
    middle_encoder=dict(sparse_shape=[21, 512, 512]),
    test_cfg=dict(nms_pre=200, max_num=100),
)
globals().update(own)  # pipelines, data loaders, evaluators
del own

epochs = 40
param_scheduler = [dict(_base_.one_cycle, total_steps=epochs)]
train_cfg = dict(max_epochs=epochs, val_interval=5)
