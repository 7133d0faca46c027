"""From a checked graph to readable PyTorch source."""
