"""Export of trained models to ONNX, and to programs of `torch.export`."""
