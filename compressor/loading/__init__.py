"""What may be in a model file, and what is refused."""
