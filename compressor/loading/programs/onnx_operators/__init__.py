"""ONNX operators, one file per family; each has a table HANDLERS from the operator's name to what writes it."""
