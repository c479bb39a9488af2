"""Label maps as they are stored, and what their values mean."""
