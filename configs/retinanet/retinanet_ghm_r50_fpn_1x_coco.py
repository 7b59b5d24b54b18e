# GHM-C and GHM-R. The weights of rare gradients are large, hence the bound on the norm of a step.
_base_ = ["./retinanet_r50_fpn_1x_coco.py"]
model = dict(
    bbox_head=dict(
        loss_cls=dict(_delete_=True, type="lidar_rank.GHMCLoss"),
        loss_bbox=dict(_delete_=True, type="lidar_rank.GHMRLoss", loss_weight=10.0),
    )
)
optim_wrapper = dict(clip_grad=dict(max_norm=35, norm_type=2))
