"""From a folder of pictures to a trained model: what the data are, the config, the report."""
