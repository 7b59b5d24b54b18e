"""Sparse convolution: the one place that knows which backend runs where."""
