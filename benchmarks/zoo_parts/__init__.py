"""The parts of `benchmarks/zoo.py`: the list of models, the stages that each goes through, limits, and the table."""
