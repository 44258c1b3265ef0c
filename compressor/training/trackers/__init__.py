"""Who keeps the curves of a training: one tracker a file."""
