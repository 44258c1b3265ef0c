"""One file per format; found by file name."""
