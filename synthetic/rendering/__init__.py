"""Synthetic video: rendered people who perform actions, with exact ground truth.

For training small networks, and for tests and demonstrations on machines without videos. Uses only NumPy and OpenCV;
nothing here depends on networks.
"""
