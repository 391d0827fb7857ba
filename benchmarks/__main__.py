"""Command line of the benchmark suite: `python -m benchmarks zoo`."""

from benchmarks.cli import app

if __name__ == "__main__":
    app(prog_name="python -m benchmarks")
