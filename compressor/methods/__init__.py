"""How channels are chosen: one file per method, found by its name.

A criterion scores channels, a selector picks a kept set. Both only look: the model leaves a method as it came.
"""
