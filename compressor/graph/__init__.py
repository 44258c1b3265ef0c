"""Which channels must leave together, what they cost, and where each of them lies in the model's tensors.

`engine.find_groups` is the interface; everything that it returns is plain data (`compressor.core.groups`), so another
engine can take its place without a change anywhere else.
"""
