# mmdet's RetinaNet for COCO with the losses per image.
_base_ = ["mmdet::retinanet/retinanet_r50_fpn_1x_coco.py", "../_base_/models/retinanet.py"]
model = dict(bbox_head=_base_.retina_head)
