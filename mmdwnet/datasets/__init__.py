"""Data sets: ImageNet in zip archives, and one that the package makes for itself."""
