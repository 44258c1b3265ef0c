"""How long a model takes at any widths, from node times that a runtime measured at some."""
