"""The engine: loads backbones, reads data, trains, evaluates, predicts; knows no task by name."""
