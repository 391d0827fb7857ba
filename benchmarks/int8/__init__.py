"""int8 against other quantizers: the same calibration samples, the same runs."""
