"""Tools that make an exported file smaller without changing what it computes."""
