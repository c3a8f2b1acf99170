"""Evaluation: metrics, protocols, baselines, upper bounds and statistics."""
