"""Figures of a processor that estimates of time are made with, near enough on any of them."""

CYCLE = 0.3e-9
"""Seconds of a cycle."""
MEMORY = 6
"""Bytes that reach a core from memory in a cycle, which is also about what a product of vectors
takes."""
FORK_SECONDS = 1.2e-6
"""What sharing adds to a call in a model beside its data: 0.3 us between neighbouring cores, 1.2 us
between cores without a common cache, measured on Zen 4. For estimates that count the data that
crosses between cores by themselves."""
LAUNCH = 7000
"""Cycles to hand out tasks to threads and to wait for the last one, the data that crosses between
cores included: more than `FORK_SECONDS`. For estimates of one kernel by itself, which do not know
where its data lies."""
LAUNCH_SECONDS = LAUNCH * CYCLE
