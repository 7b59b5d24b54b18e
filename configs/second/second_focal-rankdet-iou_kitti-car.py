# The third of RankDetNet's losses beside focal loss; alone it never looks at background.
_base_ = ["./second_kitti-car.py"]
model = dict(
    bbox_head=dict(
        loss_cls=dict(
            _delete_=True,
            type="lidar_rank.SumLoss",
            losses=[dict(type="lidar_rank.SigmoidFocalLoss"), dict(type="lidar_rank.IoURankingLoss")],
        )
    )
)
