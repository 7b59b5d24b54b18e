"""KITTI average precision: matching, decisions, precision and recall, AP."""
