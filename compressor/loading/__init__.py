"""What may be in a model file, and what is refused."""

from compressor.loading.model_file import LoadedModel, load_model

__all__ = ["LoadedModel", "load_model"]
