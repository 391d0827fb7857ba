"""Folding of what norms and attention do to channels into the weights around them."""
