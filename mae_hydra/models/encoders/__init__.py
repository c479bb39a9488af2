"""The Vision Transformer and what it is made of."""
