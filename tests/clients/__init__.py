"""Frameworks whose packages are too heavy for the test suite. `make test-clients` runs them."""
