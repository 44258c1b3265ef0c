"""Functions that prefer zeros: value, subgradient and proximal map, one file each."""
