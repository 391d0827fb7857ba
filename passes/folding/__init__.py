"""Folding: what norms and attention do to channels goes into the weights around them.

All five passes read the axis graph (burnish.analysis.axis_graph), which says what writes and what
reads a channel, wherever it goes in between:

    attention_biases       key_invariance
    layer_norm
    norm_scale             constant_norm, norm_trial
    redundant_channels     constant_channels, redundancy
    residual_stream
    several                weights
"""
