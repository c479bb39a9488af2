"""Data sets in tar files."""
