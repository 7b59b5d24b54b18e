"""Simulated KITTI: scans of a 64-beam scanner, camera images and labels of random street scenes.

:func:`lidar_rank.datasets.simulation.write.simulate_kitti` is the way in. It loads Open3D, which takes seconds, only in
the processes that make frames.
"""
