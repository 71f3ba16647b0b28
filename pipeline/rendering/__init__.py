"""A world without a camera: drawn people who do things, in clips whose truth is known to the pixel.

For training small networks, and for tests and demonstrations that must run where no video can be had. NumPy and OpenCV
alone; nothing here knows of networks.
"""
