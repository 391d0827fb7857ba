"""Deciding what is quantized: what each layer costs in accuracy and gains in time, and a bound."""
