"""What each operator does to the axes of its tensors; importing this package fills the table of rules."""

from compressor.graph.operators import indexing, layout, parts, pixels, products, statistics
from compressor.graph.operators.call import Call, Dims, rule_for, unknown

__all__ = ["Call", "Dims", "indexing", "layout", "parts", "pixels", "products", "rule_for", "statistics", "unknown"]
