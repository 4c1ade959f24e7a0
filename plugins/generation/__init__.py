"""Generation: learn how texts go on, and write on from a prompt."""
