# mmdet's RetinaNet for PASCAL VOC with the losses per image.
_base_ = ["mmdet::pascal_voc/retinanet_r50_fpn_1x_voc0712.py", "../_base_/models/retinanet.py"]
model = dict(bbox_head=_base_.retina_head)
