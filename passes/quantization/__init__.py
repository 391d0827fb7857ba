"""Fewer bits for weights and values: what a model is made to bear them by, and how it is said.

``streams`` finds channels that may be scaled, with all that writes and reads them;
``equalize_channels`` scales them by their weights alone.
"""
