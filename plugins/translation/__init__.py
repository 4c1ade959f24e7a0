"""Translation: what a text says, in another language."""
