# PointPillars for KITTI cars: mmdet3d's own configuration, with losses per scan, assignment on the CPU, the exact
# evaluation and resumable epochs.
_base_ = [
    "mmdet3d::pointpillars/pointpillars_hv_secfpn_8xb6-160e_kitti-3d-car.py",
    "../_base_/models/anchor3d.py",
    "../_base_/data/kitti_scans.py",
]
model = dict(
    type="lidar_rank.VoxelNet",
    bbox_head=_base_.anchor_head,
    train_cfg=dict(assigner=_base_.car_assigner),
    test_cfg=_base_.anchor_test,
)

# Objects are pasted at their own height: prepared roots hold no ground planes. The host's top-level db_sampler is not
# used, since the host's three classes have been merged into it.
train_pipeline = [
    dict(type="ObjectSample", db_sampler=dict(step.db_sampler, **_base_.kitti_database))
    if step.type == "ObjectSample"
    else step
    for step in _base_.train_pipeline
]
train_dataloader = dict(
    persistent_workers=False, dataset=dict(dataset=dict(data_root=_base_.kitti_root, pipeline=train_pipeline))
)
val_dataloader = dict(dataset=dict(data_root=_base_.kitti_root))
test_dataloader = dict(dataset=dict(data_root=_base_.kitti_root))
val_evaluator = _base_.kitti_ap
test_evaluator = _base_.kitti_ap
default_hooks = _base_.kitti_hooks
visualizer = _base_.kitti_visualizer
