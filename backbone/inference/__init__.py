"""From text to predictions with a trained model."""
