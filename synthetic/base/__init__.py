"""Weights that a recognizer of few clips starts from: their data, their training, and shipping them in the package."""
