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
PEERS = {one.name: one for one in (ORT, OPENVINO, OPENVINO_BF16, TORCH, AUTOTUNE)}
