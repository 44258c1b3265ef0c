"""Layers of low rank: a convolution or linear layer becomes two or three thin ones, one file per way to split it."""
