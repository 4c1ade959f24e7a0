"""Question answering: which span of the paragraphs answers a question, or that none does."""
