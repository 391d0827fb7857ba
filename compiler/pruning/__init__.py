"""Pruning: what is asked, which structures are thinned out and how far, and a record of each."""
