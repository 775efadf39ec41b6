"""One file for each world of clients: where they knock, who they are, and the protocol they are given."""
