"""Data sets that the package makes for itself."""
