"""What segmentation models learn from: each a sum and a count, in which no image depends on another."""
