"""`make chart`: recorded latencies of the main models as a picture, docs/latency.svg."""

from pathlib import Path

import matplotlib as mpl
import matplotlib.pyplot as plt

from benchmarks.measured import Recorded, load_record
from benchmarks.peer_engines import PEERS
from benchmarks.zoo import MAIN_JOB

PICTURE = Path(__file__).resolve().parent.parent / "docs" / "latency.svg"
COLOURS = {"ort": "#5b8def", "openvino": "#e08a3c", "torch": "#9a6dd7"}
BAR, GAP = 0.8, 0.35
"""Height of the bars of a model together, and inches between models."""


def draw(record: Recorded, path: Path) -> None:
    """Draw bars of their time over ours, with intervals, for the main models.

    The same figures give the same bytes: no date, no random identifiers, text as text.
    """
    settings = {"svg.hashsalt": "burnish", "svg.fonttype": "none", "font.size": 9}
    most = max(row.threads for row in record.rows)
    first = [(model.name, model.cases[0].label) for model in MAIN_JOB]
    rows = [row for row in record.at(most) if (row.model, row.case) in first][::-1]
    engines = [name for name in COLOURS if name in record.engines]
    with mpl.rc_context(settings):
        figure, axes = plt.subplots(figsize=(7.5, 0.9 + GAP * len(rows)))
        thick = BAR / len(engines)
        for number, name in enumerate(engines):
            found = [(place, versus) for place, row in enumerate(rows)
                     if (versus := row.versus(name)) is not None]  # fmt: skip
            ratios = [versus.ratio for _, versus in found]
            axes.barh(
                [place + BAR / 2 - thick * (number + 0.5) for place, _ in found],
                [ratio.median for ratio in ratios],
                height=thick,
                xerr=[
                    [ratio.median - ratio.low for ratio in ratios],
                    [ratio.high - ratio.median for ratio in ratios],
                ],
                error_kw={"elinewidth": 0.7, "ecolor": "#444444"},
                color=COLOURS[name],
                label=PEERS[name].title,
            )
        axes.axvline(1.0, color="#222222", linewidth=1)
        axes.set_yticks(range(len(rows)), [row.model for row in rows])
        axes.set_xlabel(f"their time / burnish's, {most} threads: right of 1 burnish is faster")
        axes.spines[["top", "right"]].set_visible(False)
        axes.legend(frameon=False, loc="lower left", bbox_to_anchor=(0, 1), ncols=len(engines))
        figure.tight_layout()
        path.parent.mkdir(exist_ok=True)
        figure.savefig(path, format="svg", metadata={"Date": None, "Creator": None})
        plt.close(figure)


if __name__ == "__main__":
    draw(load_record(), PICTURE)
