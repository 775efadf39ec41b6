"""English questions in a common form."""
