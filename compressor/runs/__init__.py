"""A run on disk: its folder while it works and when it is finished, and how a saved one comes back."""
