"""Image classifiers by `transformers` configurations: real architectures, random weights."""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.builders.torch_export import enliven, export, seeded


class _Classifier(nn.Module):
    """An image classifier with a plain tensor for result."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, pixel_values: Tensor) -> Tensor:
        """Return logits [batch, classes] for pictures [batch, 3, height, width]."""
        logits: Tensor = self.network(pixel_values=pixel_values).logits
        return logits


def classifier(path: Path, *, architecture: str, exporter: str, size: str = "224") -> None:
    """Export one of `_NETWORKS` with a dynamic batch axis.

    Args:
        path: the ONNX file to write.
        architecture: a key of `_NETWORKS`.
        exporter: a key of `torch_export.OPSET`.
        size: height and width of the pictures.
    """
    seeded()
    model = _Classifier(_NETWORKS[architecture]())
    side = int(size)
    batches = [torch.randn(8, 3, side, side) for _ in range(3)]
    enliven(model, *batches)
    export(
        model,
        (torch.randn(2, 3, side, side),),
        path,
        inputs=("pixel_values",),
        outputs=("logits",),
        exporter=exporter,
        dynamic={"pixel_values": {0: "batch"}, "logits": {0: "batch"}},
    )


def _resnet50() -> Any:
    from transformers import ResNetConfig, ResNetForImageClassification

    return ResNetForImageClassification(ResNetConfig(num_labels=1000))


def _mobilenet_v2() -> Any:
    from transformers import MobileNetV2Config, MobileNetV2ForImageClassification

    return MobileNetV2ForImageClassification(
        MobileNetV2Config(num_labels=1000, classifier_dropout_prob=0.0)
    )


def _deit_tiny() -> Any:
    from transformers import DeiTConfig, DeiTForImageClassification

    config = DeiTConfig(
        hidden_size=192,
        num_hidden_layers=12,
        num_attention_heads=3,
        intermediate_size=768,
        num_labels=1000,
    )
    return DeiTForImageClassification(config)


def _convnext() -> Any:
    from transformers import ConvNextConfig, ConvNextForImageClassification

    config = ConvNextConfig(hidden_sizes=[32, 64, 96, 128], depths=[2, 2, 3, 2], num_labels=100)
    return ConvNextForImageClassification(config)


def _swin() -> Any:
    from transformers import SwinConfig, SwinForImageClassification

    config = SwinConfig(
        image_size=112,
        embed_dim=48,
        depths=[2, 2, 2],
        num_heads=[2, 4, 8],
        window_size=7,
        num_labels=100,
    )
    return SwinForImageClassification(config)


def _efficientnet() -> Any:
    from transformers import EfficientNetConfig, EfficientNetForImageClassification

    config = EfficientNetConfig(
        width_coefficient=1.0, depth_coefficient=1.0, hidden_dim=1280, num_labels=100
    )
    return EfficientNetForImageClassification(config)


class _Segmenter(nn.Module):
    """SegFormer with a plain tensor for result, brought to the size of the picture."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, pixel_values: Tensor) -> Tensor:
        """Return class logits [batch, classes, height, width]."""
        logits: Tensor = self.network(pixel_values=pixel_values).logits
        return nn.functional.interpolate(
            logits, size=pixel_values.shape[-2:], mode="bilinear", align_corners=False
        )


def segmenter(path: Path, *, exporter: str, size: str) -> None:
    """Export a small SegFormer with a dynamic batch axis."""
    from transformers import SegformerConfig, SegformerForSemanticSegmentation

    seeded()
    config = SegformerConfig(
        hidden_sizes=[16, 32, 48, 64],
        depths=[1, 1, 1, 1],
        num_attention_heads=[1, 2, 3, 4],
        decoder_hidden_size=64,
        num_labels=12,
    )
    model = _Segmenter(SegformerForSemanticSegmentation(config))
    side = int(size)
    enliven(model, *(torch.randn(4, 3, side, side) for _ in range(3)))
    export(
        model,
        (torch.randn(2, 3, side, side),),
        path,
        inputs=("pixel_values",),
        outputs=("logits",),
        exporter=exporter,
        dynamic={"pixel_values": {0: "batch"}, "logits": {0: "batch"}},
    )


_NETWORKS = {
    "convnext": _convnext,
    "deit-tiny": _deit_tiny,
    "efficientnet": _efficientnet,
    "mobilenet-v2": _mobilenet_v2,
    "resnet-50": _resnet50,
    "swin": _swin,
}
