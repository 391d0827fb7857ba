"""burnish's own benchmark suite: the model zoo, latency against ONNX Runtime, acceptance tables."""
