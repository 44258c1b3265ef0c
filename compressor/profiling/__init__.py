"""How latency is measured: fresh processes, files in turns, statistics, a verdict, machine facts."""
