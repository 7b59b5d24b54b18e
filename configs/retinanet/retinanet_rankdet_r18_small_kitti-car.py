# RankDetNet's three losses, after a warm-up with focal loss.
_base_ = ["./retinanet_r18_small_kitti-car.py"]
model = dict(
    bbox_head=dict(
        loss_cls=dict(
            _delete_=True,
            type="lidar_rank.BlendLoss",
            start=dict(type="lidar_rank.SigmoidFocalLoss"),
            end=dict(type="lidar_rank.RankDetLoss"),
        )
    )
)
custom_hooks = [*_base_.custom_hooks, dict(type="lidar_rank.WarmUpHook")]
