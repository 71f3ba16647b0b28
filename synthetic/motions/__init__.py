"""Skeletons of people in motion without images: hundreds of actions, combined from programs for parts of the body."""
