"""The command that prints the paper's tables from what runs wrote."""

from __future__ import annotations

import argparse

from analysis.frames.frame import mixed
from analysis.frames.source import load_any
from analysis.frames.table import NoRuns, Table
from analysis.paper.paper_tables import TABLES
from analysis.paper.reported import with_reported
from pearl_eval.errors import UserError
from pearl_eval.shell.streams import standard_streams

_FORMATS = {"markdown": Table.markdown, "latex": Table.latex, "csv": Table.csv}


@standard_streams()
def main() -> None:
    """``python -m analysis.tables DIRECTORY…``: the tables that these runs give."""
    parser = argparse.ArgumentParser(description=__doc__)
    add = parser.add_argument
    add("source", nargs="+", help="runs' and sweeps' directories, or wandb:ENTITY/PROJECT")
    add("--table", choices=[*TABLES], action="append", help="which (default: all there are)")
    add("--format", choices=[*_FORMATS], default="markdown")
    add("--reported", action="store_true", help="below ours, what the authors report of the same")
    add("--cells", action="store_true", help="below each table, the runs that each cell is from")
    arguments = parser.parse_args()
    try:
        frame = load_any(arguments.source)
        made, missing = [], []
        for name in arguments.table or TABLES:
            try:
                made.append(TABLES[name](frame))
                if arguments.reported:
                    made[-1] = with_reported(made[-1], frame)
            except NoRuns as error:
                if arguments.table:
                    raise UserError(f"no table {name}: {error}") from None
                missing.append(f"{name} ({error})")
        if not made:
            raise UserError(f"these runs give no table: {'; '.join(missing)}")
    except UserError as error:
        parser.error(str(error))
    blocks = [_written(table, arguments.format, arguments.cells) for table in made]
    print("\n\n".join(blocks))
    apart = mixed(frame)
    comment = {"markdown": "> ", "latex": "% ", "csv": "# "}[arguments.format]
    if apart:
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


if __name__ == "__main__":
    main()
