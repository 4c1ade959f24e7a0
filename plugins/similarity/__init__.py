"""Similarity: how near the meanings of two texts are, and which texts of a corpus are nearest."""
