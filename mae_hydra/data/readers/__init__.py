"""Data sets as they lie on a disk."""
