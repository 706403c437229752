"""How much memory a process has used."""

from __future__ import annotations

from pathlib import Path


def peak_resident_bytes(process: int | str = "self") -> int:
    """Peak resident memory of a process, in bytes; 0 where the system does not tell."""
    try:
        status = Path(f"/proc/{process}/status").read_text()
    except OSError:
        return 0
    fields = dict(line.split(":", 1) for line in status.splitlines() if ":" in line)
    return int(fields.get("VmHWM", "0 kB").split()[0]) * 1024
