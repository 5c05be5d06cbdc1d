"""Evaluation and comparison: rows of predictions with their truth, figures of them, reports. Importing it loads nothing."""
