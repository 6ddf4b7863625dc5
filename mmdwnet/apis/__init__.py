"""What the commands in `tools/` do: training and testing from one config, for all three tasks."""
