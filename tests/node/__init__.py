"""Clients in JavaScript, run by Node."""
