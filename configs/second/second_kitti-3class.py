# The three classes of KITTI, with the anchors, thresholds and object samples of mmdet3d's own configuration.
_base_ = ["./second_kitti-car.py", "../_base_/data/kitti_3class.py"]

small_object = dict(type="lidar_rank.AnchorAssigner", pos_iou_thr=0.35, neg_iou_thr=0.2, min_pos_iou=0.2)
model = dict(
    bbox_head=dict(
        num_classes=3,
        anchor_generator=dict(
            ranges=[[0, -40.0, -0.6, 70.4, 40.0, -0.6]] * 2 + [[0, -40.0, -1.78, 70.4, 40.0, -1.78]],
            sizes=_base_.three_sizes,
            reshape_out=False,
        ),
    ),
    train_cfg=dict(assigner=[small_object, small_object, _base_.model.train_cfg.assigner]),
)

metainfo = dict(classes=_base_.three_classes)
train_pipeline = [
    dict(step, db_sampler=dict(step.db_sampler, **_base_.three_samples)) if step.type == "ObjectSample" else step
    for step in _base_.train_pipeline
]
train_dataloader = dict(dataset=dict(dataset=dict(pipeline=train_pipeline, metainfo=metainfo)))
val_dataloader = dict(dataset=dict(metainfo=metainfo))
test_dataloader = dict(dataset=dict(metainfo=metainfo))
