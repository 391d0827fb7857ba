"""Diagnosis: which rewrite made a result wrong, and the smallest model that shows it.

Children run modules of this package, so that nothing is imported here.
"""
