"""Diagnostics of trained detectors, from scores, labels and overlaps alone."""
