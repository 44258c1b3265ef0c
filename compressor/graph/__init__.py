"""Which channels must leave together, what they cost, and where each of them lies in the model's tensors.

`engine.follow` is the interface: it runs the model once (`tracing`), lets the rule of every executed operator match
axes (`operators`, `axis`), and makes groups of what may shrink (`grouping`): plain data (`compressor.core.groups`).
"""
