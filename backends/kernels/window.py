"""One channel at a time: windows that are summed, weighted or compared."""

from tvm import te, tirx
from tvm.ir import Expr

from burnish.backends.kernels.geometry import Axis


def window(
    x: te.Tensor, axes: list[Axis], role: str, weights: te.Tensor | None = None
) -> te.Tensor:
    """Reduce the window of every output position and channel of ``x`` ``[batch, *spatial, C]``.

    Args:
        x: activations, channels last.
        axes: one per spatial axis.
        role: ``depthwise`` (sum of products with ``weights`` ``[*kernel, C]``), ``sum-pool`` or
            ``max-pool``; positions outside the input count as 0, or as the least number.
        weights: for ``depthwise`` only.
    """
    batch, channels = int(x.shape[0]), int(x.shape[-1])
    taps = [te.reduce_axis((0, axis.kernel), f"tap{i}") for i, axis in enumerate(axes)]
    is_max = role == "max-pool"
    outside = tirx.min_value(x.dtype) if is_max else tirx.const(0, x.dtype)

    def value(n: Expr, *position: Expr) -> Expr:
        *outputs, channel = position
        source, guards = [], []
        for axis, output, tap in zip(axes, outputs, taps, strict=True):
            index, conditions = axis.source(output, tap)
            source.append(index)
            guards += conditions
        load = x(n, *source, channel)
        if guards:
            load = tirx.if_then_else(tirx.all(*guards), load, outside)
        if weights is not None:
            load = load * weights(*taps, channel)
        return te.max(load, axis=taps) if is_max else te.sum(load, axis=taps)

    attrs = {
        "burnish.role": role,
        "burnish.axes": [axis.encode() for axis in (Axis(batch, batch), *axes)],
    }
    shape = (batch, *(axis.outputs for axis in axes), channels)
    return te.compute(shape, value, name=role.replace("-", "_"), attrs=attrs)
