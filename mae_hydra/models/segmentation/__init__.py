"""Segmentation models: heads on feature maps."""
