"""The version of skelpipe: the one place where it is set."""

__version__ = "0.2.0"
