"""Completions that mean harm, and what they must be reported as.

Each is the body of ``def answer(x)``, of which the tests want 42 for 21. ``HOME`` is a folder
with a secret, ``PORT`` a server's on the loopback interface.
"""

from __future__ import annotations

HOSTILE: dict[str, tuple[str, str | tuple[str, ...]]] = {
    "fork bomb": ("import os\nwhile True:\n    os.fork()", "failed: BlockingIOError"),
    "fork bomb that goes on": (
        "import os\nwhile True:\n    try:\n        os.fork()\n    except OSError:\n        pass",
        "timed out",
    ),
    "threads": (
        "import threading\nwhile True:\n"
        "    threading.Thread(target=threading.Event().wait).start()",
        "failed: RuntimeError: can't start new thread",
    ),
    "endless loop": ("while True:\n    pass", "timed out"),
    "endless loop that catches everything": (
        "import signal\nfor n in set(signal.Signals) - {signal.SIGKILL, signal.SIGSTOP}:\n"
        "    signal.signal(n, signal.SIG_IGN)\nwhile True:\n    try:\n        while True:\n"
        "            pass\n    except BaseException:\n        pass",
        "timed out",
    ),
    "memory at once": ("return bytearray(10**11)", "failed: MemoryError"),
    "memory bit by bit": (
        "hog = []\nwhile True:\n    hog.append(bytearray(10**8))",
        "failed: MemoryError",
    ),
    "memory outside of the process": (
        "import ctypes, time\nctypes.CDLL(None).shmget(0, 10**8, 0o1600)\ntime.sleep(60)",
        "failed: it took System V shared memory",
    ),
    "one large file": (
        "with open('hog', 'wb') as file:\n    file.write(bytes(10**8))",
        "failed: OSError: [Errno 27] File too large",
    ),
    "many files": (
        "for i in range(10**6):\n    with open(f'hog{i}', 'wb') as file:\n"
        "        file.write(bytes(10**7))",
        "failed: OSError: [Errno 28] No space left on device",
    ),
    "many empty files": (
        "for i in range(10**6):\n    open(f'hog{i}', 'wb').close()",
        ("failed: OSError: [Errno 28] No space left on device", "timed out"),
    ),
    "a million lines": (
        "for i in range(10**6):\n    print('x')\nreturn 42",
        "failed: it wrote more than 512 KiB",
    ),
    "errors without end": (
        "import os\nwhile True:\n    os.write(2, b'x' * 1000)",
        "failed: it wrote more than 512 KiB",
    ),
    "secret of the environment": (
        "import os\nassert not os.environ['WANDB_API_KEY']\nreturn 42",
        "failed: KeyError: 'WANDB_API_KEY'",
    ),
    "secret of the parent's environment": (
        "import os\nassert not open(f'/proc/{os.getppid()}/environ').read()\nreturn 42",
        "failed: FileNotFoundError",
    ),
    "secret of the home folder": (
        "assert not open('HOME/secret').read()\nreturn 42",
        "failed: FileNotFoundError",
    ),
    "loopback server": (
        "import socket\nsocket.create_connection(('127.0.0.1', PORT), 1)\nreturn 42",
        ("failed: OSError: [Errno 101] Network is unr", "failed: ConnectionRefusedError"),
    ),
    "kills its parent": (
        "import os\nos.kill(os.getppid(), 9)\nreturn 42",
        "failed: it killed the process that judges it",
    ),
    "kills all": (
        "import os\nos.kill(-1, 9)\nreturn 42",
        "failed: it killed the process that judges it",
    ),
    "kills its group": (
        "import os\nos.killpg(0, 9)\nreturn 42",
        "failed: it killed the process that judges it",
    ),
    "stops its parent": ("import os\nos.kill(os.getppid(), 19)\nreturn 42", "timed out"),
    "reads its parent's memory": (
        "import ctypes, os\nassert ctypes.CDLL(None).ptrace(16, os.getppid(), 0, 0) == 0\n"
        "return 42",
        "failed: AssertionError",
    ),
    "daemon": (
        "import os, time\nif os.fork():\n    os._exit(0)\nos.setsid()\ntime.sleep(600)",
        "failed: BlockingIOError",
    ),
    "os._exit(0)": (
        "import os\nos._exit(0)",
        "failed: it ended itself before the tests were done (exit code 0)",
    ),
    "os._exit(0) at once": (
        "return 42\nimport os\nos._exit(0)",
        "failed: it ended itself before the tests were done (exit code 0)",
    ),
    "sys.exit(0)": ("import sys\nsys.exit(0)", "failed: SystemExit: 0"),
    "another program": (
        "import os, sys\nos.execv(sys.executable, [sys.executable, '-c', ''])",
        "failed: it ended itself before the tests were done (exit code",
    ),
    "patched builtins": (
        "import builtins\nbuiltins.AssertionError = type('Never', (Exception,), {})\n"
        "builtins.abs = builtins.all = lambda *_: True\nreturn 41",
        "failed: AssertionError",
    ),
    "equal to everything": (
        "class Yes:\n    def __eq__(self, other):\n        return True\nreturn Yes()",
        "failed: it returned a Yes",
    ),
    "a number equal to everything": (
        "class Yes(int):\n    def __eq__(self, other):\n        return True\nreturn Yes(41)",
        "failed: AssertionError",
    ),
    "forged verdict": (
        "import os\nfor descriptor in range(256):\n    try:\n"
        "        os.write(descriptor, b'passed')\n    except OSError:\n        pass",
        "failed: a message of ",
    ),
    "skips the answer": (
        "import json, os\ndata = json.dumps({'ready': None}).encode()\n"
        "os.write(3, len(data).to_bytes(4, 'big') + data)",
        "failed: it answers what nobody asked",
    ),
    "deletes the user's files": (
        "import shutil\nshutil.rmtree('HOME')\nreturn 42",
        "failed: FileNotFoundError",
    ),
    "deletes the interpreter": ("import os\nos.remove(os.__file__)\nreturn 42", "failed: OSError"),
    "recursion": ("return answer(x) + 1", "failed: RecursionError"),
    "recursion without limit": (
        "import itertools\nx = iter(())\nfor _ in range(10**6):\n    x = itertools.chain(x)\n"
        "return next(x)",
        "failed: it was ended by SIGSEGV",
    ),
    "crash": ("import ctypes\nctypes.string_at(0)", "failed: it was ended by SIGSEGV"),
    "abort": ("import os\nos.abort()", "failed: it was ended by SIGABRT"),
    "a huge answer": ("return 'x' * 10**8", "failed: it returned more than 16 MiB"),
    "an endless answer": ("while True:\n    yield 42", ""),
    "a deep answer": ("for _ in range(10**5):\n    x = [x]\nreturn x", "failed: RecursionError"),
    "an answer in itself": ("x = []\nx.append(x)\nreturn x", "failed: RecursionError"),
    "an error that paints the terminal": (
        "raise ValueError('\\x1b[2J\\n' * 10**6)",
        "failed: ValueError: [2J [2J",
    ),
    "an error that has no text": (
        "class Error(Exception):\n    def __str__(self):\n        raise self\nraise Error",
        "failed: Error",
    ),
    "reads the user's input": ("return int(input())", "failed: EOFError"),
    "never defines it": ("return 42\ndel answer", "failed: it defines no answer"),
}


def body(code: str, home: str, port: int) -> str:
    """A hostile completion; a last part that is not indented comes after the function."""
    code = code.replace("HOME", home).replace("PORT", str(port))
    inside, split, after = code, "", ""
    for start in ("return 42\nimport", "return 42\ndel"):
        if code.startswith(start):
            inside, split, after = code.partition("\n")
    lines = "".join(f"    {line}\n" for line in inside.splitlines())
    return lines + (after + "\n" if split else "")
