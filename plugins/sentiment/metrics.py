"""How predictions are scored, and what they are compared with: one label per text."""

from polyhead.registry.toolkit.single_label import baseline, headline, score

__all__ = ["baseline", "headline", "score"]
