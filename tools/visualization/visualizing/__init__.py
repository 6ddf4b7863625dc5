"""The parts of the commands in `tools/visualization`."""
