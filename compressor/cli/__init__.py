"""Arguments in, exit code out; one small file per verb. Importing it imports no torch."""
