"""Chinese: what is written, as it is read aloud."""
