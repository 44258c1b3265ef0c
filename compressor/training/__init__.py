"""The one training loop, evaluation, and what plugs into them: losses and augmentations."""
