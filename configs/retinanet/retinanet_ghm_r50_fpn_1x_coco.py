# GHM-C and GHM-R with the authors' weights, their learning rate (0.01 for 16 images, the host's) and their bound on the
# norm of a step, which rare gradients with large weights need.
_base_ = ["./retinanet_r50_fpn_1x_coco.py"]
model = dict(
    bbox_head=dict(
        loss_cls=dict(_delete_=True, type="lidar_rank.GHMCLoss"),
        loss_bbox=dict(_delete_=True, type="lidar_rank.GHMRLoss", loss_weight=10.0),
    )
)
optim_wrapper = dict(clip_grad=dict(max_norm=35, norm_type=2))
