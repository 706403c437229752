"""The paper's tables, printed from what runs wrote."""

from __future__ import annotations

from collections.abc import Sequence

from analysis.frames.frame import mixed
from analysis.frames.source import load_any
from analysis.frames.table import NoRuns, Table
from analysis.paper.paper_tables import TABLES
from analysis.paper.reported import with_reported
from pearl_eval.errors import UserError

_FORMATS = {"markdown": Table.markdown, "latex": Table.latex, "csv": Table.csv}


def print_tables(
    source: Sequence[str],
    table: Sequence[str] = (),
    format: str = "markdown",
    reported: bool = False,
    cells: bool = False,
) -> None:
    """Print the tables of these names that runs give, or all; see the help of ``tables``."""
    if unknown := [name for name in table if name not in TABLES]:
        raise UserError(f"there is no table {unknown[0]}: choose from {', '.join(TABLES)}")
    frame = load_any(source)
    made, missing = [], []
    for name in table or TABLES:
        try:
            made.append(TABLES[name](frame))
            if reported:
                made[-1] = with_reported(made[-1], frame)
        except NoRuns as error:
            if table:
                raise UserError(f"no table {name}: {error}") from None
            missing.append(f"{name} ({error})")
    if not made:
        raise UserError(f"these runs give no table: {'; '.join(missing)}")
    print("\n\n".join(_written(one, format, cells) for one in made))
    if apart := mixed(frame):
        comment = {"markdown": "> ", "latex": "% ", "csv": "# "}[format]
        print(f"\n{comment}The runs differ in {', '.join(apart)}: kept apart in sections.")


def _written(table: Table, form: str, cells: bool) -> str:
    text = _FORMATS[form](table)
    if not cells or form == "csv":
        return text
    lines = (
        f"{' / '.join(filter(None, (cell.section, *cell.row, cell.column)))}: "
        + (", ".join(cell.runs) or cell.source)
        for cell in table.cells
    )
    comment = "% " if form == "latex" else "    "
    return text + "\n\n" + "\n".join(comment + line for line in lines)
