"""A finished talk to look at: one HTML file that needs nothing else."""
