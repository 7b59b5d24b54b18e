# The three classes of KITTI on the small SA-SSD; anchors and thresholds of its authors.
_base_ = ["./sassd_kitti-car_small.py"]

metainfo = dict(classes=["Pedestrian", "Cyclist", "Car"])
small_object = dict(type="lidar_rank.AnchorAssigner", pos_iou_thr=0.5, neg_iou_thr=0.35, min_pos_iou=0.0)
model = dict(
    bbox_head=dict(
        num_classes=3,
        anchor_generator=dict(
            ranges=[[0, -19.2, -1.78, 38.4, 19.2, -1.78]] * 3,
            sizes=[[0.8, 0.6, 1.73], [1.76, 0.6, 1.73], [3.9, 1.6, 1.56]],
            reshape_out=False,
        ),
    ),
    train_cfg=dict(assigner=[small_object, small_object, _base_.model.train_cfg.assigner]),
)

train_pipeline = _base_.train_pipeline
train_pipeline[2].db_sampler.update(
    classes=metainfo["classes"],
    sample_groups=dict(Car=12, Pedestrian=6, Cyclist=6),
    prepare=dict(filter_by_difficulty=[-1], filter_by_min_points=dict(Car=5, Pedestrian=10, Cyclist=10)),
)
train_dataloader = dict(dataset=dict(dataset=dict(pipeline=train_pipeline, metainfo=metainfo)))
val_dataloader = dict(dataset=dict(metainfo=metainfo))
test_dataloader = dict(dataset=dict(metainfo=metainfo))
