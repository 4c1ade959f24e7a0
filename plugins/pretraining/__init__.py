"""Pretraining: objectives that learn from texts alone, without labels."""
