"""Fewer bits for weights and values: what a model is made to bear them by, and how it is said.

``streams`` finds channels that may be scaled, with all that writes and reads them;
``equalize_channels`` scales them by their weights alone, ``simulation`` computes on some rows of
data what 8 bits make of a product, ``channel_scales`` chooses by that. ``weighted`` finds products
and convolutions with weights, ``placement`` the values that are rounded with them, from what
``operators`` do to these; ``ranges`` finds out what ``formats`` have to cover, ``weights`` rounds
weights and ``tables`` tables, ``pairs`` writes it down. ``twins`` knows what it was before,
``cascade`` runs both side by side from layer to layer, ``refining`` changes a layer at each of its
stops, ``gptq`` rounds weights by what they are multiplied with.

Of models that are quantized, ``parameters`` reads and writes how a value is, ``conversions`` says
which ways of it kernels know, ``movement`` how operators that only move numbers work on integers.
``requantize`` takes sums of integers to other integers, ``transposed`` writes a region.

``half_range`` says whether numbers fit float16.
"""
