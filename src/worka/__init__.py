"""Worka: a platform for operating governed AI work."""

__version__ = "0.1.0"
