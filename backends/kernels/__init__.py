"""Tensor expressions of the operators that burnish lowers itself."""
