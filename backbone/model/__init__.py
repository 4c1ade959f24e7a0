"""Backbones and heads: where the parts of an architecture sit, how they are loaded and cut."""
