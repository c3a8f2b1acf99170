"""Detector: a one-dimensional Conditional DETR with class-agnostic queries, its training and its proposals."""
