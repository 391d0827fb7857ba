"""Fewer bits for what costs the most; only on request, and measured.

``sites`` finds products and convolutions with constant weights, ``attention`` writes out what those
between values round on the way; ``rounding`` makes constants and values bfloat16; ``even`` adds a
channel of zeros where pairs need one.
"""
