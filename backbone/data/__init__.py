"""Bring files to the model: read rows, make typed examples of them, look at them, encode and batch them."""
