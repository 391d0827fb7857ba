"""The benchmark of the thread pool, on a few forks."""

from benchmarks.pool import PAUSES, WORK, as_table, measure_pool


def test_every_kind_of_fork_is_timed() -> None:
    rows = measure_pool(threads=2, repeat=2)
    assert {(row.pause, row.work) for row in rows} == {(p, w) for p in PAUSES for w in WORK}
    # The clock says when the work is done: no fork can be over before an even share of it.
    assert all(row.fastest >= row.work * 1e-9 / 2 for row in rows)
    assert as_table(rows).row_count == len(rows)
