"""Sentiment: how positive or negative a text is."""
