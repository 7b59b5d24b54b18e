"""Simulated KITTI: scans of a 64-beam scanner, camera images and labels of random street scenes.

:func:`lidar_rank.datasets.simulation.write.simulate_kitti` is the way in; it is not imported here because Open3D takes
seconds to load.
"""
