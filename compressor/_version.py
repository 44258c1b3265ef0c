"""The one place that knows the version; the changelog's top entry must equal it."""

__version__ = "0.1.0"
