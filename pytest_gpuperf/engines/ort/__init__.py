"""What the ONNX Runtime engine consists of."""
