"""The ``polyhead`` command: parses, calls, prints; no logic of its own."""
