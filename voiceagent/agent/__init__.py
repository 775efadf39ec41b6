"""The public interface: an agent in Python, its application and its server, and conversations in writing."""
