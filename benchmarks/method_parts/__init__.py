"""The parts of `methods.py`: what is run, what is kept, and the page that is made of it."""
