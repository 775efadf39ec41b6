"""Report of a finished session: one HTML file that needs nothing else."""
