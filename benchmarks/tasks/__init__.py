"""Tasks with labels: what a pass, or a model that was changed, costs in accuracy."""
