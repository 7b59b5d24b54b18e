# PointPillars for KITTI cars: mmdet3d's own configuration, with losses per image, assignment on the CPU, the exact
# evaluation and resumable epochs. Objects are pasted at their own height: prepared roots hold no ground planes.
# The data set lies at data/kitti, or where the environment variable KITTI_ROOT says.
_base_ = ["mmdet3d::pointpillars/pointpillars_hv_secfpn_8xb6-160e_kitti-3d-car.py"]
custom_imports = dict(imports=["lidar_rank.mm"])

model = dict(
    type="lidar_rank.VoxelNet",
    bbox_head=dict(
        type="lidar_rank.PerImageAnchor3DHead",
        loss_cls=dict(_delete_=True, type="lidar_rank.SigmoidFocalLoss", loss_weight=1.0),
        loss_bbox=dict(_delete_=True, type="lidar_rank.SmoothL1Loss", beta=1.0 / 9.0, loss_weight=2.0),
    ),
    train_cfg=dict(
        assigner=dict(
            _delete_=True, type="lidar_rank.AnchorAssigner", pos_iou_thr=0.6, neg_iou_thr=0.45, min_pos_iou=0.45
        )
    ),
)

data_root = "{{$KITTI_ROOT:data/kitti}}"
train_pipeline = _base_.train_pipeline
# Not _base_.db_sampler, in which the host's three classes have been merged with its one.
db_sampler = train_pipeline[2].db_sampler
db_sampler.update(data_root=data_root, info_path=data_root + "/kitti_dbinfos_train.pkl")
train_pipeline[2] = dict(type="ObjectSample", db_sampler=db_sampler)
train_dataloader = dict(
    persistent_workers=False, dataset=dict(dataset=dict(data_root=data_root, pipeline=train_pipeline))
)
val_dataloader = dict(dataset=dict(data_root=data_root))
test_dataloader = dict(dataset=dict(data_root=data_root))
val_evaluator = dict(_delete_=True, type="lidar_rank.KittiAP", data_root=data_root)
test_evaluator = val_evaluator

custom_hooks = [dict(type="lidar_rank.EpochSeedHook"), dict(type="lidar_rank.CheckpointFitsHook")]
default_hooks = dict(
    logger=dict(interval=10),
    checkpoint=dict(interval=1, max_keep_ckpts=2, save_best="kitti/Car/3d/R40/moderate", rule="greater"),
)
vis_backends = [dict(type="LocalVisBackend"), dict(type="TensorboardVisBackend")]
visualizer = dict(_delete_=True, type="Visualizer", vis_backends=vis_backends)
