"""The main job on a small real model and real images that ship with scikit-learn."""
