"""Data sets that users name in configs."""
