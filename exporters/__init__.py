"""Any module becomes a file that a runtime loads; knows nothing of pruning."""
