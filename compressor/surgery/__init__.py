"""From a decision to a smaller module: what each tensor loses, the cut, its replay, and the proof that it is right."""
