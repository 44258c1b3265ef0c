"""Datasets that people have, as one type: image folders, parquet, npz, and batches given from Python."""
