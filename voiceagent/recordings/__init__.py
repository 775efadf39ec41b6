"""Recordings of talks: both sides as they were heard, and all that happened, on disk."""
