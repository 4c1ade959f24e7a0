"""Classification: which of your labels a text, or a pair of texts, bears."""
