# mmdet's Faster R-CNN for COCO with a localization loss of the core, smooth L1, in its second stage.
_base_ = [
    "mmdet::faster_rcnn/faster-rcnn_r50_fpn_1x_coco.py",
    "../_base_/losses/ghm-r.py",
    "../_base_/losses/rpn.py",
]
custom_imports = dict(imports=["lidar_rank.mm"])

model = dict(
    roi_head=dict(
        bbox_head=dict(
            type="lidar_rank.BalancedBBoxHead",
            loss_bbox=dict(_delete_=True, type="lidar_rank.SmoothL1Loss", beta=1.0 / 9.0),
        )
    )
)
custom_hooks = [dict(type="NumClassCheckHook")]

# The authors' bound on the norm of a step, which GHM's rare gradients with large weights need.
loss_ghm_r = dict(optim_wrapper=dict(clip_grad=dict(max_norm=35, norm_type=2)))
balanced = dict(_delete_=True, type="lidar_rank.IoUBalancedLocLoss", beta=1.0 / 9.0)
loss_iou_balanced = dict(model=dict(roi_head=dict(bbox_head=dict(loss_bbox=balanced))))
