"""Values, plug-in contracts, errors and progress: what every stage shares and no stage owns."""
