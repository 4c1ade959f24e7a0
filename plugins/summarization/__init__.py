"""Summarization: a long text said in few words."""
