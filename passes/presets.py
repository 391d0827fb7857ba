"""Presets: the passes that a run makes, in order."""

from __future__ import annotations

NAMES = {"default":["freeze-input-shapes","infer-shapes","fold-constants","inline-control-flow","remove-no-ops","simplify-chains","common-subexpressions","remove-dead-code","fuse-batch-norm","recognise-layer-norm","recognise-gelu","recognise-activations","recognise-softmax","recognise-attention","remove-dead-code","fuse-matmul-add"],
"compile":["freeze-input-shapes","upgrade-opset","infer-shapes","fold-constants","inline-control-flow","remove-no-ops","simplify-chains","common-subexpressions","remove-dead-code","fuse-batch-norm","recognise-layer-norm","recognise-gelu","recognise-activations","recognise-softmax","recognise-attention","remove-dead-code"]}
