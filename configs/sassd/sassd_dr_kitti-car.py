# The scores that DR loss ranks start in the middle and stay higher than those of focal loss.
_base_ = ["./sassd_kitti-car.py"]
model = dict(
    bbox_head=dict(prior_prob=0.5, candidate_score_thr=0.6, loss_cls=dict(_delete_=True, type="lidar_rank.DRLoss"))
)
