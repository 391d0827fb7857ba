"""Depthwise convolution: every channel has a window of its own."""

from collections.abc import Sequence

from tvm import te

from burnish.backends.kernels.geometry import Axis
from burnish.backends.kernels.window import window

Ints = Sequence[int]


def depthwise_convolution(
    x: te.Tensor, weights: te.Tensor, *, strides: Ints, pads: Ints, dilations: Ints
) -> te.Tensor:
    """Convolve each channel of ``x`` ``[batch, *spatial, C]`` with its own kernel.

    ``weights`` ``[*kernel, C]`` are as `packing.pack_depthwise` writes them; ``strides``, ``pads``
    and ``dilations`` as for `convolution.convolution`.

    Raises:
        ValueError: the window does not fit the padded input.
    """
    count = len(strides)
    axes = [
        Axis.gathering(
            int(x.shape[i + 1]), int(weights.shape[i]), strides[i], dilations[i],
            (pads[i], pads[i + count]),
        )
        for i in range(count)
    ]  # fmt: skip
    return window(x, axes, "depthwise", weights)
