"""Passes over adapters: small branches that were trained beside fixed weights.

merge_adapters finds sums of branches (sums), reads each branch as a path of linear operators
(paths) that comes to one map (maps), and merges the maps into the product beside them (merging) or
into those that read the sum (ahead).
"""
