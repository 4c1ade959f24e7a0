"""Saving and loading: checkpoints of a run, and the plain Hugging Face folder it leaves."""
