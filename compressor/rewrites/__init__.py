"""Blocks whose code ties sizes that their mathematics does not: replaced by blocks that compute the same.

`find` proposes and checks, `apply` replaces; what was replaced is data (`compressor.core.plan.Rewrite`) and stands in
the plan, so that it is done again when the plan is replayed. A kind of block is one file here.
"""
