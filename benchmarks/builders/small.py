"""Export of the small networks, and of small language models by transformers configurations."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.builders import adapted, networks
from benchmarks.builders.torch_export import Dynamic, enliven, export, seeded


@dataclass(frozen=True)
class _Recipe:
    """How one network is made and exported."""

    network: Any
    example: tuple[Tensor, ...]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    dynamic: Dynamic


def network(path: Path, *, name: str, exporter: str) -> None:
    """Export the network `name`, a key of `_RECIPES`, by an exporter of `torch_export`."""
    seeded()
    recipe = _RECIPES[name]()
    model, example = recipe.network, recipe.example
    if name == "half":
        model, example = model.half(), tuple(one.half() for one in example)
    export(
        model,
        example,
        path,
        inputs=recipe.inputs,
        outputs=recipe.outputs,
        exporter=exporter,
        dynamic=recipe.dynamic,
    )


def decoder(path: Path, *, architecture: str, exporter: str) -> None:
    """Export a small causal language model, "gpt" or "llama", with dynamic batch and sequence."""
    seeded()
    model = _Decoder(_DECODERS[architecture]())
    enliven(model)
    names = ("input_ids", "attention_mask", "logits")
    export(
        model,
        (torch.arange(2 * 9).reshape(2, 9), torch.ones(2, 9, dtype=torch.int64)),
        path,
        inputs=("input_ids", "attention_mask"),
        outputs=("logits",),
        exporter=exporter,
        dynamic={name: {0: "batch", 1: "sequence"} for name in names},
    )


class _Decoder(nn.Module):
    """A causal language model with plain tensors for argument and result, and no cache."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """Return logits [batch, sequence, vocabulary]."""
        logits: Tensor = self.model(
            input_ids=input_ids, attention_mask=attention_mask, use_cache=False
        ).logits
        return logits


def _gpt() -> Any:
    from transformers import GPT2Config, GPT2LMHeadModel

    return GPT2LMHeadModel(
        GPT2Config(vocab_size=1000, n_positions=128, n_embd=96, n_layer=3, n_head=4)
    )


def _llama() -> Any:
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=1000,
        hidden_size=96,
        intermediate_size=256,
        num_hidden_layers=3,
        num_attention_heads=6,
        num_key_value_heads=2,
        max_position_embeddings=128,
    )
    return LlamaForCausalLM(config)


_DECODERS = {"gpt": _gpt, "llama": _llama}


def _recurrent(cell: str) -> _Recipe:
    return _Recipe(
        network=networks.Recurrent(cell),
        example=(torch.randn(2, 11, 24),),
        inputs=("x",),
        outputs=("scores", "hidden"),
        dynamic={"x": {0: "batch", 1: "steps"}, "scores": {0: "batch", 1: "steps"}},
    )


def _pictures(model: nn.Module, side: int, output: str) -> _Recipe:
    enliven(model, *(torch.randn(4, 3, side, side) for _ in range(3)))
    return _Recipe(
        network=model,
        example=(torch.randn(2, 3, side, side),),
        inputs=("images",),
        outputs=(output,),
        dynamic={"images": {0: "batch"}, output: {0: "batch"}},
    )


def _scripted() -> _Recipe:
    return _Recipe(
        network=torch.jit.script(networks.Scripted()),
        example=(torch.randn(2, 16), torch.tensor(3)),
        inputs=("x", "steps"),
        outputs=("y",),
        dynamic={"x": {0: "batch"}, "y": {0: "batch"}},
    )


def _vocoder() -> _Recipe:
    return _Recipe(
        network=networks.Vocoder(),
        example=(torch.randn(1, 20, 50),),
        inputs=("mel",),
        outputs=("wave",),
        dynamic={"mel": {2: "frames"}, "wave": {2: "samples"}},
    )


def _top_choice() -> _Recipe:
    return _Recipe(
        network=networks.TopChoice(),
        example=(torch.arange(12).reshape(2, 6),),
        inputs=("ids",),
        outputs=("scores", "rows"),
        dynamic={"ids": {0: "batch"}, "scores": {0: "batch"}, "rows": {0: "batch"}},
    )


def _tail() -> _Recipe:
    names = ("warped", "larger", "cubic", "product", "mixed", "best")
    grid = torch.rand(1, 8, 8, 2) * 2 - 1
    rows = torch.arange(36).reshape(1, 1, 3, 12).expand(1, 4, 3, 12) % 12
    return _Recipe(
        network=networks.Tail(),
        example=(torch.randn(1, 4, 12, 12), grid, rows.contiguous()),
        inputs=("x", "grid", "rows"),
        outputs=names,
        dynamic={},
    )


def _adapted(kind: str) -> _Recipe:
    model = adapted.Adapted(kind)
    enliven(model)
    return _Recipe(
        network=model,
        example=(torch.arange(2 * 9).reshape(2, 9),),
        inputs=("ids",),
        outputs=("logits",),
        dynamic={"ids": {0: "batch", 1: "sequence"}, "logits": {0: "batch"}},
    )


def _branching() -> _Recipe:
    return _Recipe(
        network=networks.Branching(),
        example=(torch.randn(2, 16),),
        inputs=("x",),
        outputs=("y",),
        dynamic={"x": {0: "batch"}, "y": {0: "batch"}},
    )


_RECIPES: dict[str, Callable[[], _Recipe]] = {
    "branching": _branching,
    "gru": lambda: _recurrent("gru"),
    "half": lambda: _pictures(networks.HalfNet(), 64, "logits"),
    "lora": lambda: _adapted("lora"),
    "lstm": lambda: _recurrent("lstm"),
    "repadapter": lambda: _adapted("repadapter"),
    "residual": lambda: _pictures(networks.ResidualNet(), 64, "logits"),
    "scripted": _scripted,
    "tail": _tail,
    "top-choice": _top_choice,
    "unet": lambda: _pictures(networks.UNet(), 64, "logits"),
    "vocoder": _vocoder,
    "yolo": lambda: _pictures(networks.YoloHead(), 96, "boxes"),
}
