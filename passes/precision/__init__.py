"""Fewer bits for what costs the most; only on request, and measured.

``sites`` finds products and convolutions with constant weights; ``rounding`` makes constants and
values bfloat16; ``even`` adds a channel of zeros where pairs need one.
"""
