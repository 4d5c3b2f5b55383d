"""Run benchmark rows, all or by name: `python -m tests.benchmarks [rows]`, `--list` to see them.

Ends with 1 where a target is missed or results disagree. Peers are installed into environments of
their own under BENCH_HOME (the platform's cache folder) and used again.
"""

from __future__ import annotations

import importlib
import os
import pkgutil
import statistics
import sys
from pathlib import Path

import click
import platformdirs

import tests.benchmarks
from tests.benchmarks._frame import Bench, DisagreementError, Measurement, Row

WIDTHS = (10, 12, 12, 9, 17)


@click.command()
@click.argument("names", nargs=-1, metavar="[ROWS]...")
@click.option("--list", "only_list", is_flag=True, help="Show the rows and their targets.")
def main(names: tuple[str, ...], *, only_list: bool) -> None:
    """Measure og-mcp beside its peers."""
    rows = find_rows()
    unknown = set(names) - set(rows)
    if unknown:
        raise click.BadParameter(f"no row {sorted(unknown)}; there are {', '.join(rows)}")
    if only_list:
        for name, row in rows.items():
            click.echo(f"{name:{WIDTHS[0]}} {row.title} ({row.target.text})")
        return
    cache = platformdirs.user_cache_dir("og-mcp")
    bench = Bench(Path(os.environ.get("BENCH_HOME") or Path(cache) / "benchmarks").absolute())
    click.echo(line("row", "ours", "peer", "ratio", "spread", "target"))
    held = [run(name, rows[name], bench) for name in names or rows]
    sys.exit(not all(held))


def find_rows() -> dict[str, Row]:
    """Return the rows by the names of their files."""
    names = (module.name for module in pkgutil.iter_modules(tests.benchmarks.__path__))
    return {
        name: importlib.import_module(f"tests.benchmarks.{name}").ROW
        for name in sorted(names)
        if not name.startswith("_")
    }


def run(name: str, row: Row, bench: Bench) -> bool:
    """Measure a row, print it, and tell whether its target is held."""
    try:
        figures = row.measure(bench)
    except DisagreementError as exc:
        click.echo(f"{name:{WIDTHS[0]}} results disagree: {exc}")
        return False
    held = row.target.held(figures)
    low, high = figures.spread
    click.echo(
        line(
            name,
            shown(figures.ours, figures),
            shown(figures.peer, figures),
            f"{figures.ratio:,.2f}" if figures.peer else "-",
            f"{low:,.4g} to {high:,.4g}",
            f"{row.target.text}: {'held' if held else 'missed'}  [{row.title}; {figures.note}]",
        )
    )
    return held


def shown(numbers: list[float], figures: Measurement) -> str:
    """Write the median with its unit."""
    return f"{statistics.median(numbers):,.4g} {figures.unit}" if numbers else "-"


def line(*cells: str) -> str:
    """Put cells into columns; the last is as wide as it is."""
    padded = [f"{cell:{width}}" for cell, width in zip(cells, WIDTHS, strict=False)]
    return " ".join([*padded, cells[-1]])


if __name__ == "__main__":
    main()
