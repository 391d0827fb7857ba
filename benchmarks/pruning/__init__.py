"""The benchmark of pruning: accuracy, speed, time and memory."""
