# A thin Faster R-CNN for blood cells, on one CPU core.
_base_ = [
    "mmdet::_base_/models/faster-rcnn_r50_fpn.py",
    "../_base_/data/bccd.py",
    "../_base_/schedules/small_images.py",
    "../_base_/losses/ghm-r.py",
    "../_base_/losses/rpn.py",
]

model = dict(
    backbone=dict(depth=18, base_channels=16, frozen_stages=-1, norm_eval=False, init_cfg=None),
    neck=dict(in_channels=[16, 32, 64, 128], out_channels=32),
    rpn_head=dict(in_channels=32, feat_channels=32),
    roi_head=dict(
        bbox_roi_extractor=dict(out_channels=32),
        bbox_head=dict(
            type="lidar_rank.BalancedBBoxHead",
            num_classes=3,
            in_channels=32,
            fc_out_channels=128,
            loss_bbox=dict(_delete_=True, type="lidar_rank.SmoothL1Loss", beta=1.0 / 9.0),
        ),
    ),
    train_cfg=dict(rpn_proposal=dict(max_per_img=300), rcnn=dict(sampler=dict(num=128))),
    test_cfg=dict(rpn=dict(max_per_img=300), rcnn=dict(score_thr=0.01)),
)

# The best weight of eight trials on held-out blood cells; focal loss and DR loss of the proposals are best with those
# of their papers (docs/results/ablation_2d.md).
loss_rpn_rankdet = dict(model=dict(rpn_head=dict(loss_cls=dict(end=dict(loss_weight=0.1)))))
# On the scale of deltas that are divided by 0.1, not the authors' 0.02.
loss_ghm_r = dict(model=dict(roi_head=dict(bbox_head=dict(loss_bbox=dict(mu=0.5)))))
balanced = dict(_delete_=True, type="lidar_rank.IoUBalancedLocLoss", w_loc="auto", beta=1.0 / 9.0)
loss_iou_balanced = dict(model=dict(roi_head=dict(bbox_head=dict(loss_bbox=balanced))))
