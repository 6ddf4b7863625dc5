"""The formats of data, a file for each: `read` returns what is there, or None."""
