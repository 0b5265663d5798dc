"""Bulk sentiment scoring of product reviews: one model, the same answer in batch and online."""

__version__ = "0.1.0"
