"""Giving accuracy back after the cut: one file per way, found by its name."""
