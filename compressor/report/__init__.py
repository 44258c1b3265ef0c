"""From values to report.json, report.html and terminal tables."""
