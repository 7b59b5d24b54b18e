# mmdet's FoveaBox for COCO with the losses per image.
_base_ = ["mmdet::foveabox/fovea_r50_fpn_4xb4-1x_coco.py", "../_base_/losses/iou-balanced.py"]
custom_imports = dict(imports=["lidar_rank.mm"])

model = dict(
    bbox_head=dict(
        type="lidar_rank.PerImageFoveaHead",
        loss_cls=dict(_delete_=True, type="lidar_rank.SigmoidFocalLoss", gamma=1.5, alpha=0.4),
        loss_bbox=dict(_delete_=True, type="lidar_rank.SmoothL1Loss", beta=0.11),
    )
)

# On FoveaBox's own focal and smooth L1 loss, with the authors' factor, tuned on COCO.
loss_iou_balanced = loss_iou_balanced_paper = dict(
    model=dict(bbox_head=dict(loss_cls=dict(gamma=1.5, alpha=0.4), loss_bbox=dict(beta=0.11, w_loc=3.049)))
)
