"""Folding: what norms and attention do to channels goes into the weights around them.

All four passes read the axis graph (burnish.analysis.axis_graph), which says what writes and what
reads a channel, wherever it goes in between:

    attention_biases       key_invariance
    layer_norm
    redundant_channels     constant_channels, redundancy
    residual_stream
    several                weights
"""
