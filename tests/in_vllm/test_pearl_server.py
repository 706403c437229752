"""vLLM's OpenAI server with PEARL answers as the plain one does, wherever it is started."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psutil
import pytest

pytest.importorskip("vllm")

from vllm_tiny import ARGUMENTS, ENVIRONMENT, TARGET, pearl_arguments, prompts

#: Seconds that a start may take: some 30 on two idle cores.
LIMIT = 600
EXECUTOR = {"distributed_executor_backend": "pearl_eval.vllm.Executor"}


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


@contextlib.contextmanager
def server(folder: Path, **arguments: Any) -> Iterator[Any]:
    """A client of a server that was started in a folder; it is not ready yet."""
    from openai import OpenAI

    port = free_port()
    command = [sys.executable, "-m", "vllm.entrypoints.openai.api_server", "--model", TARGET]
    for name, value in {**ARGUMENTS, **arguments, "port": port, "host": "127.0.0.1"}.items():
        option = "--" + name.replace("_", "-")
        if value is True:
            command.append(option)
        else:
            command += [option, json.dumps(value) if isinstance(value, dict) else str(value)]
    with (folder / "server.log").open("w") as log:
        process = subprocess.Popen(
            command, cwd=folder, env={**os.environ, **ENVIRONMENT}, stdout=log, stderr=log
        )
    try:
        yield OpenAI(base_url=f"http://127.0.0.1:{port}/v1", api_key="none", max_retries=0), process
    finally:
        everything = []
        with contextlib.suppress(psutil.NoSuchProcess):  # it may have ended by itself
            everything.append(psutil.Process(process.pid))
            everything += everything[0].children(recursive=True)
            process.terminate()
        # One that is slow to end would leave its engine behind.
        _, left = psutil.wait_procs(everything, timeout=60)
        for one in left:
            one.kill()


def wait_for(client: Any, process: Any, folder: Path) -> None:
    from openai import APIConnectionError

    deadline = time.monotonic() + LIMIT
    while True:
        try:
            client.models.list()
            return
        except APIConnectionError:
            told = (folder / "server.log").read_text()[-3000:]
            assert process.poll() is None and time.monotonic() < deadline, told
            time.sleep(0.5)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Where servers are started: a user's, with folders of our packages' names."""
    found = {}
    for name in ("plain", "pearl"):
        found[name] = tmp_path_factory.mktemp(name)
        for package in ("tasks", "decoders", "analysis"):
            (found[name] / package).mkdir()
            (found[name] / package / "__init__.py").write_text("raise SystemExit('not ours')\n")
    return found


@pytest.fixture(scope="module")
def clients(folders: dict[str, Path]) -> Iterator[dict[str, Any]]:
    """Clients of a plain server and of one with PEARL."""
    with (
        server(folders["plain"]) as plain,
        server(folders["pearl"], **pearl_arguments(wait=4), **EXECUTOR) as pearl,
    ):
        wait_for(*plain, folders["plain"])
        wait_for(*pearl, folders["pearl"])
        yield {"plain": plain[0], "pearl": pearl[0]}


def ask(client: Any, prompt: list[int], stream: bool = False, **options: Any) -> list[int]:
    """Output tokens for a prompt."""
    settings = {"max_tokens": 96, "temperature": 0, **options}
    extra = {"return_token_ids": True, "ignore_eos": True}
    answer = client.completions.create(
        model=TARGET, prompt=prompt, stream=stream, extra_body=extra, **settings
    )
    if not stream:
        return list(answer.choices[0].token_ids)
    return [token for part in answer for token in part.choices[0].token_ids or []]


@pytest.fixture(scope="module")
def expected(clients: dict[str, Any]) -> list[list[int]]:
    """What the plain server answers."""
    return [ask(clients["plain"], prompt) for prompt in prompts()[:4]]


@pytest.mark.parametrize("stream", [False, True])
def test_one_after_the_other(
    clients: dict[str, Any], expected: list[list[int]], stream: bool
) -> None:
    answers = [ask(clients["pearl"], prompt, stream) for prompt in prompts()[:4]]
    assert answers == expected and all(len(answer) == 96 for answer in answers)


@pytest.mark.parametrize("stream", [False, True])
def test_several_at_once(clients: dict[str, Any], expected: list[list[int]], stream: bool) -> None:
    with ThreadPoolExecutor(4) as pool:
        asked = [pool.submit(ask, clients["pearl"], prompt, stream) for prompt in prompts()[:4]]
        assert [answer.result() for answer in asked] == expected


def test_text_and_stop_words(clients: dict[str, Any]) -> None:
    def text(name: str, **options: Any) -> Any:
        answer = clients[name].completions.create(
            model=TARGET,
            prompt=prompts()[3],
            max_tokens=96,
            temperature=0,
            extra_body={"ignore_eos": True},
            **options,
        )
        return answer.choices[0].text, answer.choices[0].finish_reason

    whole = text("plain")[0]
    stop = whole[30:33]
    assert text("pearl")[0] == whole
    assert text("pearl", stop=[stop]) == text("plain", stop=[stop])
    assert text("pearl", stop=[stop])[1] == "stop"


def test_what_drafts_were_of_use_is_among_the_servers_metrics(
    clients: dict[str, Any], expected: list[list[int]]
) -> None:
    import httpx

    address = str(clients["pearl"].base_url).replace("/v1/", "/metrics")
    told = httpx.get(address).text
    [accepted] = [
        line for line in told.splitlines()
        if line.startswith("vllm:spec_decode_num_accepted_tokens_total")
    ]  # fmt: skip
    assert float(accepted.split()[-1]) > 0
