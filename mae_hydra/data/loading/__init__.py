"""The streams that feed training and evaluation."""
