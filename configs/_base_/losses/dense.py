# The losses that a dense head takes.
_base_ = ["./ap.py", "./dr.py", "./focal.py", "./ghm.py", "./iou-balanced.py", "./rankdet.py"]
