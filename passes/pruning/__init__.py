"""Structured pruning: whole channels, heads and neurons go, and what reads them makes up for it.

``structures`` finds what can be thinned out, ``readings`` what its readers are given, ``criteria``
in which order its units matter, ``gates`` what each means to the answers, ``survey`` what is lost
at each width. ``refit`` is the regression, ``fitting`` applies it to layer after layer;
``prune_channels`` is the pass. ``rotate_heads`` puts what matters first within heads, whose weights
``head_weights`` finds. ``blocks`` finds residual blocks, and ``remove_blocks`` is the pass that
goes without them.
"""
