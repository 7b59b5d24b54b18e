"""Anchors and objects in, labels and targets out."""
