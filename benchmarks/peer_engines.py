"""The engines that compiled models are timed against, those of our own suite among them."""

from burnish.bench.seats import OPENVINO, OPENVINO_BF16, ORT, PeerEngine

TORCH = PeerEngine("torch", "torch.compile", "torch", loader="benchmarks.engines:load_torch")
AUTOTUNE = PeerEngine(
    "torch-max-autotune",
    "torch.compile, max-autotune",
    "torch",
    loader="benchmarks.engines:load_torch_autotuned",
)
UNTUNED = PeerEngine("untuned", "burnish, untuned", "burnish", loader="burnish")
"""Another artifact of the same model, to compare with."""
PLAIN = PeerEngine("float", "burnish, float", "burnish", loader="burnish")
"""The artifact of the same model without quantization."""
ORT_INT8 = PeerEngine("ort-int8", "ONNX Runtime, int8", "onnxruntime", loader="ort")
OPENVINO_INT8 = PeerEngine("openvino-int8", "OpenVINO, int8", "openvino", loader="openvino")
PEERS = {one.name: one for one in (ORT, OPENVINO, OPENVINO_BF16, TORCH, AUTOTUNE)}
