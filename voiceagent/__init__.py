"""A runtime for real-time voice conversations: audio in, audio out, everything between streamed."""

__version__ = "0.1.0"
