"""Native code for CPUs: schedule rules, tuning and object code."""
