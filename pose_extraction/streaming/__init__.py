"""Run the detector and the estimator on the frames of many videos, in batches that can span frames and videos.

The generators take (video, frame) pairs and return (video, poses) pairs, in the same order within each video. They hold
only as many frames as the batches require, and are independent of files.
"""
