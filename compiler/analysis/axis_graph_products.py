"""How products read and write channels: MatMul, Gemm, Conv, ConvTranspose, Attention."""

from __future__ import annotations

import numpy as np

from burnish.analysis.axis_graph_elementwise import Handler
from burnish.analysis.axis_graph_sites import Blocks, Bound, Passage, Role, Site, Sites, Variance
from burnish.analysis.axis_graph_views import unknown
from burnish.analysis.symmetry import Transform
from burnish.ir import Array, OperatorNode, VariableNode

NO_HEADS = "Attention has heads that cannot be told apart"
MIXES = "{} contracts it together with other axes"


def _reads(
    sites: Sites,
    node: OperatorNode,
    index: int,
    axis: int,
    site: Site | None,
    *,
    padded: bool = False,
) -> None:
    """The weight at input ``index`` contracts ``site`` with its own ``axis``."""
    weight = node.constant_input(index)
    assert weight is not None
    if site is None:
        return
    if site.axis is None or weight.shape[axis] != site.numbers.size:
        sites.bound(site, Transform.IDENTITY, MIXES.format(node.op_type), node)
        return
    sites.member(node, index, (axis,), site, Role.READER, Variance.CONTRAVARIANT, padded=padded)
    if padded:
        sites.bounds.append(_unpadded(site, node))


def _unpadded(site: Site, node: OperatorNode) -> Bound:
    return Bound(site, Transform.GENERAL, f"{node.op_type} reads zeros beside it", node)


def _writes(sites: Sites, node: OperatorNode, index: int, axis: int, where: int) -> Site | None:
    """The weight at input ``index`` writes new channels: its ``axis``, ``where`` in the result."""
    weight = node.constant_input(index)
    assert weight is not None
    size = weight.shape[axis]
    if size <= 1 or not weight.dtype.is_floating:
        return None
    site = sites.put(node.output, (where,), sites.fresh(size))
    sites.member(node, index, (axis,), site, Role.WRITER, Variance.COVARIANT)
    return site


def _bias(sites: Sites, node: OperatorNode, index: int, site: Site | None) -> None:
    """The bias at input ``index`` has one element for each channel written."""
    value = node.input(index)
    if value is None or site is None:
        return
    shape = value.shape or ()
    if (
        value.constant is not None
        and shape
        and shape[-1] == site.numbers.size == value.constant.size
    ):
        axis = len(shape) - 1
        sites.member(node, index, (axis,), site, Role.RIDER, Variance.COVARIANT)
        return
    reason = f"{node.op_type} adds something that is not one number per channel"
    sites.pin(node.output, reason, node)
    sites.pin(value, reason, node)


def matmul(sites: Sites, node: OperatorNode) -> None:
    """A product with a constant on either side, or of two values."""
    left, right = node.inputs[0], node.inputs[1]
    assert left is not None
    assert right is not None
    rank = node.output.rank
    if rank is None or not left.rank or not right.rank or min(left.rank, right.rank) < 2:
        return unknown(sites, node)
    if right.constant is not None:
        _with_constant(sites, node, left, 1, right.rank, rank, row=False)
    elif left.constant is not None:
        _with_constant(sites, node, right, 0, left.rank, rank, row=True)
    else:
        _of_values(sites, node, left, right)


def _with_constant(
    sites: Sites,
    node: OperatorNode,
    data: VariableNode,
    index: int,
    constant_rank: int,
    rank: int,
    *,
    row: bool,
) -> None:
    """``data @ W``, or ``W @ data`` with ``row``: W reads one axis of the data and writes one."""
    own = data.rank or 0
    read_axis = own - 2 if row else own - 1
    weight_reads, weight_writes = constant_rank - 1, constant_rank - 2
    if not row:
        weight_reads, weight_writes = weight_writes, weight_reads
    weight = node.constant_input(index)
    assert weight is not None
    if constant_rank > 2 and any(size > 1 for size in weight.shape[:-2]):
        sites.pin(data, "MatMul has another weight for each batch", node)
        return
    _reads(sites, node, index, weight_reads, sites.site(data, read_axis))
    _writes(sites, node, index, weight_writes, rank - 2 if row else rank - 1)
    for site in sites.sites(data):
        if read_axis not in site.axes:
            sites.carry(node, site, node.output, axes=tuple(a + rank - own for a in site.axes))


def _of_values(sites: Sites, node: OperatorNode, left: VariableNode, right: VariableNode) -> None:
    """Scores (channels of queries meet channels of keys) or mixed values (rows are weighted)."""
    rank = node.output.rank or 0
    assert left.rank is not None
    assert right.rank is not None
    shifts = rank - left.rank, rank - right.rank
    met = sites.site(left, left.rank - 1), sites.site(right, right.rank - 2)
    if met[0] is not None and met[1] is not None:
        _meet(sites, node, met[0], met[1], shifts, rank)
    else:
        for alone in met:
            if alone is not None:
                sites.bound(
                    alone, Transform.IDENTITY, "MatMul contracts it with what nothing writes", node
                )
    shape = node.output.shape or ()
    for value, beside, shift in ((left, right, shifts), (right, left, shifts[::-1])):
        for site in sites.sites(value):
            if site in met:
                continue
            axes = tuple(axis + shift[0] for axis in site.axes)
            if tuple(shape[axis] for axis in axes) != site.numbers.shape:
                sites.bound(site, Transform.IDENTITY, "MatMul repeats channels", node)
            elif not _weighs(sites, node, site, axes, beside, shift[1]):
                sites.carry(node, site, node.output, axes=axes)
                _heads(sites, site, site.axes.index(max(site.axes)))


def _weighs(
    sites: Sites,
    node: OperatorNode,
    heads: Site,
    axes: tuple[int, ...],
    value: VariableNode,
    shift: int,
) -> bool:
    """Whether ``heads`` are those of channels in ``value``: then they are tied, and end here."""
    for site in sites.sites(value):
        own = tuple(axis + shift for axis in site.axes)
        if not set(axes) < set(own):
            continue
        places = [own.index(axis) for axis in axes]
        channels = np.moveaxis(site.numbers, places, range(len(places)))
        if channels.shape[: len(axes)] == heads.numbers.shape:
            _tie(sites, node, heads, channels)
            return True
    return False


def _tie(sites: Sites, node: OperatorNode, heads: Site, channels: Array) -> None:
    """What is in a head of ``channels`` [*heads, channels of a head] goes with the head."""
    numbers = heads.numbers.reshape(-1)
    sites.ties.append((numbers, channels.reshape(len(numbers), -1)))
    sites.bounds.append(Bound(heads, Transform.IDENTITY, f"{node.op_type} has heads", node))


def _meet(
    sites: Sites,
    node: OperatorNode,
    left: Site,
    right: Site,
    shifts: tuple[int, int],
    rank: int,
) -> None:
    """Channels of two values are multiplied and summed; other axes of the sites are heads."""
    own = tuple(a + shifts[0] for a in left.axes)
    swap = {rank - 2: rank - 1}
    other = tuple(swap.get(a + shifts[1], a + shifts[1]) for a in right.axes)
    if own != other or left.numbers.shape != right.numbers.shape:
        for site in (left, right):
            sites.bound(site, Transform.IDENTITY, MIXES.format("MatMul"), node)
        return
    sites.same(left.numbers, right.numbers)
    sites.passages.append(Passage(node, left, right, Transform.GENERAL, dual=True))
    _heads(sites, left, len(own) - 1)
    if len(own) > 1:
        scores = sites.put(node.output, own[:-1], sites.fresh(*left.numbers.shape[:-1]))
        _tie(sites, node, scores, left.numbers)


def _heads(sites: Sites, site: Site, mixed: int) -> None:
    """Only channels along axis ``mixed`` of the site mix: the other axes are heads."""
    if site.numbers.ndim == 1:
        return
    shape = list(site.numbers.shape)
    shape[mixed] = 1
    labels = np.arange(int(np.prod(shape))).reshape(shape)
    sites.blocks.append(Blocks(site, np.broadcast_to(labels, site.numbers.shape)))


def gemm(sites: Sites, node: OperatorNode) -> None:
    """``A @ B + C`` with a constant B."""
    data, weight = node.inputs[0], node.constant_input(1)
    if weight is None or node.attribute("transA", 0):
        return unknown(sites, node)
    across = bool(node.attribute("transB", 0))
    _reads(sites, node, 1, 1 if across else 0, sites.site(data, 1))
    _bias(sites, node, 2, _writes(sites, node, 1, 0 if across else 1, 1))
    for site in sites.sites(data):
        if site.axes == (0,):
            sites.carry(node, site, node.output, Transform.PERMUTATION)


def convolve(sites: Sites, node: OperatorNode) -> None:
    """Conv: all channels into all, or each by itself (depthwise)."""
    data, weight = node.inputs[0], node.constant_input(1)
    for other in sites.sites(data):
        if 1 not in other.axes:
            sites.bound(other, Transform.IDENTITY, "Conv slides over it", node)
    site = sites.site(data, 1)
    if weight is None:
        return unknown(sites, node)
    padded = pads(node)
    if node.attribute("group", 1) == 1:
        _reads(sites, node, 1, 1, site, padded=padded)
        _bias(sites, node, 2, _writes(sites, node, 1, 0, 1))
    elif site is not None and site.axis == 1 and weight.shape[1] == 1:
        _depthwise(sites, node, site, padded=padded)
    else:
        sites.pin(data, "Conv works on groups of channels", node)


def _depthwise(sites: Sites, node: OperatorNode, site: Site, *, padded: bool) -> None:
    weight = node.constant_input(1)
    assert weight is not None
    numbers = np.repeat(site.numbers, weight.shape[0] // site.numbers.size)
    result = sites.carry(node, site, node.output, Transform.DIAGONAL, numbers=numbers)
    sites.member(node, 1, (0,), result, Role.RIDER, Variance.INVARIANT, padded=padded)
    _bias(sites, node, 2, result)
    sites.resized.append((node, site, result))


def pads(node: OperatorNode) -> bool:
    """Whether a convolution reads zeros beside the data."""
    if node.attribute("auto_pad", "NOTSET") in ("SAME_UPPER", "SAME_LOWER"):
        return True
    return any(node.attribute("pads", ()))


def convolve_transposed(sites: Sites, node: OperatorNode) -> None:
    """ConvTranspose without groups; every border misses some of the data."""
    data, weight = node.inputs[0], node.constant_input(1)
    for site in sites.sites(data):
        if 1 not in site.axes:
            sites.bound(site, Transform.IDENTITY, "ConvTranspose slides over it", node)
    if weight is None or node.attribute("group", 1) != 1:
        return unknown(sites, node)
    _reads(sites, node, 1, 0, sites.site(data, 1), padded=True)
    _bias(sites, node, 2, _writes(sites, node, 1, 1, 1))


def attention(sites: Sites, node: OperatorNode) -> None:
    """Attention: queries meet keys, values pass; several query heads may share one of keys."""
    query, key, value = node.inputs[:3]
    past = any(node.input(index) is not None for index in (4, 5))
    if past or any(output.uses for output in node.outputs[1:]):
        return unknown(sites, node)
    shared = _scores(sites, node, query, key)
    view = _by_head(sites, node, value, "kv_num_heads")
    heads = _query_heads(node)
    if view is None or not heads or heads % view[1].shape[0]:
        return sites.pin(value, NO_HEADS, node)
    site, numbers = view
    result = np.repeat(numbers, heads // numbers.shape[0], axis=0)
    if node.output.rank == 4:
        sites.carry(node, site, node.output, axes=(1, 3), numbers=result)
    else:
        sites.carry(node, site, node.output, axes=(2,), numbers=result.reshape(-1))
    _by_labels(sites, site, numbers)
    if shared is not None and len(shared) == len(numbers):
        _masked_heads(sites, node, shared, numbers, heads)
    sites.resized.append((node, site, None))


def _masked_heads(
    sites: Sites, node: OperatorNode, keys: Array, values: Array, queries: int
) -> None:
    """Heads of Attention [heads, channels each], which may each have a mask of their own."""
    heads = sites.fresh(len(keys))
    sites.ties += [(heads, keys), (heads, values)]
    mask = node.input(3)
    if mask is None or (mask.shape is not None and (1, *mask.shape[:-2])[-1] == 1):
        return
    site = Site(mask, ((mask.rank or 4) - 3,), np.repeat(heads, queries // len(heads)))
    if mask.is_constant:
        sites.member(node, 3, site.axes, site, Role.RIDER, Variance.INVARIANT)
    else:
        sites.bound(site, Transform.IDENTITY, "Attention has a mask for each head", node)


def _scores(
    sites: Sites, node: OperatorNode, query: VariableNode | None, key: VariableNode | None
) -> Array | None:
    """Channels of queries and keys are the same ones, and transformed inversely."""
    left = _by_head(sites, node, query, "q_num_heads")
    right = _by_head(sites, node, key, "kv_num_heads")
    if left is None or right is None or left[1].shape[0] % right[1].shape[0]:
        for operand in (query, key):
            sites.pin(operand, NO_HEADS, node)
        return None
    (one, numbers), (other, shared) = left, right
    sites.same(numbers, np.repeat(shared, numbers.shape[0] // shared.shape[0], axis=0))
    sites.passages.append(Passage(node, one, other, Transform.GENERAL, dual=True))
    _by_labels(sites, one, numbers)
    sites.resized += [(node, one, None), (node, other, None)]
    return shared


def _by_labels(sites: Sites, site: Site, numbers: Array) -> None:
    labels = np.broadcast_to(np.arange(numbers.shape[0])[:, None], numbers.shape)
    sites.blocks.append(Blocks(site, labels.reshape(site.numbers.shape)))


def _query_heads(node: OperatorNode) -> int:
    """How many heads of queries there are, 0 if that is unknown."""
    heads: int = node.attribute("q_num_heads", 0)
    shape = node.output.shape
    if heads or shape is None or len(shape) != 4:
        return heads
    return shape[1] if isinstance(shape[1], int) else 0


def _by_head(
    sites: Sites, node: OperatorNode, operand: VariableNode | None, attribute: str
) -> tuple[Site, Array] | None:
    """The site of an operand and its numbers by head and channel in the head."""
    if operand is None or operand.rank is None:
        return None
    site = sites.site(operand, operand.rank - 1)
    heads = node.attribute(attribute, 0)
    if site is None or len(sites.sites(operand)) > 1:
        return None
    if operand.rank == 4 and site.axes == (1, 3):
        return site, site.numbers
    if operand.rank == 4 and site.axes == (3,) and (operand.shape or ())[1:2] == (1,):
        return site, site.numbers[None]
    if operand.rank == 3 and site.axes == (2,) and heads:
        return site, site.numbers.reshape(heads, -1)
    return None


def rotary(sites: Sites, node: OperatorNode) -> None:
    """RotaryEmbedding turns pairs of channels by angles that depend on the position."""
    source = node.inputs[0]
    for site in sites.sites(source):
        assert source is not None
        size = site.numbers.size
        heads = node.attribute("num_heads", 0) if source.rank == 3 else site.numbers.shape[0]
        if site.axis is not None and source.rank == 4:
            heads = 1
        last = site.axes[-1] == (source.rank or 0) - 1
        if not last or not heads or size % (2 * heads) or node.attribute("rotary_embedding_dim", 0):
            sites.bound(site, Transform.IDENTITY, "RotaryEmbedding turns parts of it", node)
            continue
        sites.resized.append((node, site, sites.carry(node, site, node.output)))
        place, width = np.arange(size), size // heads
        inside = place % width
        pair = inside // 2 if node.attribute("interleaved", 0) else inside % (width // 2)
        labels = place // width * width + pair
        sites.blocks.append(Blocks(site, labels.reshape(site.numbers.shape)))


PRODUCTS: dict[str, Handler] = {
    "MatMul": matmul,
    "Gemm": gemm,
    "Conv": convolve,
    "ConvTranspose": convolve_transposed,
    "Attention": attention,
    "RotaryEmbedding": rotary,
}
