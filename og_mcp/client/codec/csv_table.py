"""Tables in `.csv` files, as spreadsheets and programs write them.

A table may have a header and commas, semicolons or tabs between its columns; with semicolons its
numbers may have decimal commas. What the model's graph takes decides between two readings. A table
that could still mean two things is refused: one that is read wrongly would be paid for.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from og_mcp.client.codec.specs import INTEGER_RANGES, OPEN, TEXT
from og_mcp.errors import TensorError, quote
from og_mcp.types import TensorSpec

SEPARATORS: Final = {",": "commas", ";": "semicolons", "\t": "tabs"}

HEADER_SHOWN: Final = 5
"""Names of a header that a note repeats."""

_NUMBER: Final = re.compile(
    r" *[+-]?((\d+\.?\d*|\.\d+)(e[+-]?\d+)?|nan|inf(inity)?) *", re.ASCII | re.IGNORECASE
)
_DECIMAL_COMMA: Final = re.compile(r" *[+-]?\d*,\d+(e[+-]?\d+)? *", re.ASCII | re.IGNORECASE)
_WHOLE: Final = re.compile(r" *[+-]?\d+ *", re.ASCII)
_LEADING_ZERO: Final = re.compile(r" *[+-]?0\d.*", re.ASCII)
_TRUTH: Final = {"true": 1, "false": 0}

_ONE_MEANING: Final = "Use ';' between columns and a decimal point, or give a .json or .npy file."


@dataclass(frozen=True)
class _Table:
    separator: str
    header: list[str]
    """Empty where there is none."""

    rows: list[list[str]]

    @property
    def columns(self) -> int:
        """Cells of every row; 0 where rows differ."""
        lengths = {len(row) for row in self.rows}
        return lengths.pop() if len(lengths) == 1 else 0

    @property
    def is_numeric(self) -> bool:
        """Whether every cell is a number, or true or false."""
        return all(_is_number(cell, self.separator) for row in self.rows for cell in row)


def read_table(
    tensor: str, path: str, text: str, spec: TensorSpec | None = None
) -> tuple[Any, str]:
    """Read a table.

    Args:
        tensor: Name for errors.
        path: Of the file, for errors and the note.
        text: Its content.
        spec: What the graph takes; `None` where that is not known.

    Returns:
        Rows of numbers or text, a flat list for a tensor of one dimension, a bare value for one of
        none; and what the caller should know of the reading, e.g. that a header was skipped.

    Raises:
        TensorError: It has no values, or no one meaning.
        csv.Error: It is not CSV.
    """
    tables = _parsed(text, spec)
    if not tables[0].rows:
        raise TensorError(tensor, f"is not read from {quote(path)}: the file is empty")
    table, notes = _chosen(tensor, path, tables, spec), []
    if table.header:
        names = ", ".join(quote(name) for name in table.header[:HEADER_SHOWN])
        more = ", ..." if len(table.header) > HEADER_SHOWN else ""
        notes.append(f"The header of {quote(path)} was skipped: {names}{more}.")
    if '"' not in text and _are_decimals(tensor, path, table, spec):
        table = _Table(";", table.header, [[",".join(row)] for row in table.rows])
    values = [
        [_value(tensor, path, table, (row, column), spec) for column in range(len(cells))]
        for row, cells in enumerate(table.rows)
    ]
    has_commas = table.separator == ";" and any("," in "".join(row) for row in table.rows)
    if has_commas and not _is_text(spec):
        notes.append(f"Commas in {quote(path)} were read as decimal commas.")
    return _shaped(values, spec), " ".join(notes)


def _parsed(text: str, spec: TensorSpec | None) -> list[_Table]:
    """Read the text with each separator with which it is CSV."""
    tables, problem = [], None
    for separator in SEPARATORS:
        if separator != "," and separator not in text:
            continue
        lines = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
        try:
            rows = [row for row in lines if len(row) > 1 or "".join(row).strip()]
        except csv.Error as exc:
            problem = exc
            continue
        has_header = len(rows) > 1 and not _is_text(spec) and _is_header(rows, separator)
        tables.append(_Table(separator, rows[0] if has_header else [], rows[has_header:]))
    if problem is not None and not tables:
        raise problem
    return tables


def _is_header(rows: Sequence[Sequence[str]], separator: str) -> bool:
    """Tell whether the first row alone is made of words; with a number in it, it is data."""
    is_words = not any(_is_number(cell, separator) for cell in rows[0])
    return is_words and all(_is_number(cell, separator) for row in rows[1:] for cell in row)


def _is_number(cell: str, separator: str) -> bool:
    if _NUMBER.fullmatch(cell) or cell.strip().lower() in _TRUTH:
        return True
    return separator == ";" and _DECIMAL_COMMA.fullmatch(cell) is not None


def _is_text(spec: TensorSpec | None) -> bool:
    return spec is not None and spec.dtype == TEXT


def _chosen(tensor: str, path: str, tables: Sequence[_Table], spec: TensorSpec | None) -> _Table:
    """Choose the separator."""
    used = [table for table in tables if any(len(row) > 1 for row in table.rows)]
    plain = next((table for table in tables if table not in used), tables[0])
    if _is_text(spec):
        # A comma or semicolon in a sentence separates nothing where the tensor has no room for it.
        fitting = [table for table in used if _fits(table, spec)]
        used = fitting or ([] if _fits(plain, spec) else used)
    elif len(used) > 1:
        used = [table for table in used if table.is_numeric and _fits(table, spec)] or used
    if len(used) > 1:
        both = " and ".join(SEPARATORS[table.separator] for table in used)
        reason = f"is not read from {quote(path)}: its values have two separators, {both}"
        raise TensorError(tensor, reason, _ONE_MEANING)
    return used[0] if used else plain


def _are_decimals(tensor: str, path: str, table: _Table, spec: TensorSpec | None) -> bool:
    """Tell whether the commas of a table are decimal commas: `1,5` is one number or two."""
    if table.separator != "," or (spec is not None and spec.dtype in {*INTEGER_RANGES, TEXT}):
        return False
    if not all(_WHOLE.fullmatch(",".join(row).replace(",", "", 1)) for row in table.rows):
        return False
    joined = [[",".join(row)] for row in table.rows]
    cells = [cell for (cell,) in joined]
    if any(map(_LEADING_ZERO.fullmatch, cells)) or not any(map(_DECIMAL_COMMA.fullmatch, cells)):
        return False
    as_numbers = len(table.header) in {0, 1} and _fits(_Table(";", [], joined), spec)
    as_columns = len(table.header) in {0, 2} and _fits(table, spec)
    if as_numbers and (as_columns or (spec is None and not table.header)):
        reason = f"is not read from {quote(path)}: its commas may be decimal commas or separators"
        raise TensorError(tensor, reason, _ONE_MEANING)
    return as_numbers


def _fits(table: _Table, spec: TensorSpec | None) -> bool:
    """Tell whether a table fills the graph's shape, as `_shaped` writes it."""
    rows, columns = len(table.rows), table.columns
    if columns == 0 or spec is None or spec.any_rank:
        return columns > 0
    match spec.shape:
        case []:
            sizes = [(rows * columns, 1)]
        case [size]:
            sizes = [(min(rows, columns), 1), (rows * columns, size)]
        case [*ones, height, width]:
            sizes = [*((1, one) for one in ones), (rows, height), (columns, width)]
    return all(wanted in {-1, size} for size, wanted in sizes)


def _shaped(rows: list[list[Any]], spec: TensorSpec | None) -> Any:  # noqa: ANN401 - nested lists
    """Write a table in the graph's rank, where leaving out or adding sizes of 1 does it."""
    rank = 2 if spec is None or spec.any_rank else len(spec.shape)
    flat = [cell for row in rows for cell in row]
    if rank == 0 and len(flat) == 1:
        return flat[0]
    if rank == 1 and 1 in {len(rows), *map(len, rows)}:
        return flat
    value: Any = rows
    for _ in range(rank - 2):
        value = [value]
    return value


def _value(
    tensor: str, path: str, table: _Table, at: tuple[int, int], spec: TensorSpec | None
) -> int | float | str:
    cell = table.rows[at[0]][at[1]]
    is_open = spec is None or spec.dtype == OPEN
    if _is_text(spec) or (is_open and _LEADING_ZERO.fullmatch(cell)):
        return cell
    if spec is not None and spec.dtype == "bool" and cell.strip().lower() in _TRUTH:
        return _TRUTH[cell.strip().lower()]
    if table.separator == ";" and _DECIMAL_COMMA.fullmatch(cell):
        return float(cell.replace(",", "."))
    if _NUMBER.fullmatch(cell):
        return _number(cell)
    if is_open:
        return cell
    reason = f"holds {quote(cell)} at [{at[0]}][{at[1]}] of {quote(path)}, which is not a number"
    hint = _ONE_MEANING if "," in cell else "Every place needs a number."
    raise TensorError(tensor, reason, hint)


def _number(cell: str) -> int | float:
    try:
        return int(cell)
    except ValueError:
        # A fraction, an exponent, or more digits than Python reads as an integer.
        return float(cell)
