"""How training images are varied: one file per augmentation, each a batched tensor operation."""
