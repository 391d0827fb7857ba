"""ONNX's own cases of single operators: loaded, optimized, compiled, compared."""
