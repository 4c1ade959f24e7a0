"""Bricks for plugin authors: label sets, text encoding, heads, losses, perturbations and metrics.

Import what you need from its own module; those that load something heavy are imported inside your functions.
"""
