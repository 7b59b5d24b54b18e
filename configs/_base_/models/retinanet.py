# What mmdet's RetinaNet gets here: a head that keeps the images of a batch apart for the loss, and the losses that it
# takes.
_base_ = ["../losses/dense.py"]
custom_imports = dict(imports=["lidar_rank.mm"])

retina_head = dict(
    type="lidar_rank.PerImageRetinaHead",
    loss_cls=dict(_delete_=True, type="lidar_rank.SigmoidFocalLoss"),
    loss_bbox=dict(_delete_=True, type="lidar_rank.SmoothL1Loss", beta=1.0 / 9.0),
)

# The authors' bound on the norm of a step, which GHM's rare gradients with large weights need. Their learning rate is
# the host's, 0.01 for 16 images.
loss_ghm = dict(optim_wrapper=dict(clip_grad=dict(max_norm=35, norm_type=2)))
loss_ghm_paper = loss_ghm_c = loss_ghm_c_paper = loss_ghm
# The authors' factor, tuned on COCO.
loss_iou_balanced = loss_iou_balanced_paper = dict(model=dict(bbox_head=dict(loss_bbox=dict(w_loc=3.049))))
