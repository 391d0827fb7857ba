"""Lowering: from a static graph of standard operators to kernels and a list of calls."""
