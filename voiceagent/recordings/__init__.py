"""Recordings of sessions: both sides as they were heard, and all that happened, on disk."""
