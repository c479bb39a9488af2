"""Classification models, and the mixing of their images."""
