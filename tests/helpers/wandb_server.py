"""A stand-in for the part of W&B's API that runs, artifacts and saved views use, on loopback."""

from __future__ import annotations

import gzip
import itertools
import json
import re
import sys
import threading
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import wandb_reading
from wandb_reading import Artifact

KEY = "f" * 40
ENTITY = "me"
#: Longest name of a group or a run.
LONGEST = 128
_Answer = Callable[[dict[str, Any]], dict[str, Any]]


class Refused(Exception):
    """Something that W&B's server does not take."""


class StandIn:
    """What the server was told, and how it fails.

    ``history`` has each run's logged rows in the order they came, ``summaries`` and ``configs``
    the last of each, ``exit_codes`` those of finished runs. ``artifacts`` has the files of
    committed artifacts by name, ``views`` the saved workspaces and reports. ``received`` is every
    request: its path, its headers but for the one that logs in, and its body.
    ``failure``: ``"error"`` answers all with status 500, ``"hang"`` not at all until it is reset.
    """

    def __init__(self) -> None:
        self.url = ""
        self.failure = ""
        self.operations: list[str] = []
        self.buckets: dict[str, dict[str, Any]] = {}
        self.history: dict[str, list[dict[str, Any]]] = defaultdict(list)
        self.summaries: dict[str, dict[str, Any]] = {}
        self.exit_codes: dict[str, int] = {}
        self.artifacts: dict[str, dict[str, bytes]] = {}
        self.views: list[dict[str, Any]] = []
        self.uploads: dict[str, bytes] = {}
        self.received: list[bytes] = []
        self.released = threading.Event()
        self._uploaded: dict[str, Artifact] = {}
        self._committed: dict[str, Artifact] = {}
        self._ids = map(str, itertools.count(1))

    def answer(self, operation: str, query: str, variables: dict[str, Any]) -> dict[str, Any]:
        """The ``data`` of the answer to a GraphQL operation."""
        self.operations.append(operation)
        known: dict[str, _Answer] = {
            "UpsertBucket": self._upsert_bucket,
            "RunResumeStatus": self._resume_status,
            "CreateRunFiles": self._create_run_files,
            "CreateArtifact": self._create_artifact,
            "CreateArtifactManifest": self._create_manifest,
            "UpdateArtifactManifest": self._create_manifest,
            "CreateArtifactFiles": self._create_artifact_files,
            "CommitArtifact": self._commit_artifact,
            "UpsertView2": self._upsert_view,
            "upsertView": self._upsert_view,
            "Runs": self._runs,
            "ArtifactMembershipByName": self._artifact_by_name,
            "FetchArtifactManifest": self._manifest,
            "GetArtifactMembershipFileUrls": self._file_urls,
        }
        if operation in known:
            return known[operation](variables)
        if operation == "ArtifactType":
            return {"project": None}
        if operation == "GetProjects":
            return {"models": {"pageInfo": {"endCursor": None, "hasNextPage": False}, "edges": []}}
        if "viewer" in query:
            entity = {"id": "1", "name": ENTITY, "username": ENTITY, "entity": ENTITY}
            return {"viewer": entity | {"flags": "{}", "teams": {"edges": []}, "admin": False}}
        return {}

    def stream(self, run: str, body: dict[str, Any]) -> None:
        """Rows, summary and the end of a run."""
        for name, chunk in (body.get("files") or {}).items():
            lines = [json.loads(line) for line in chunk["content"] if "json" in name]
            if name == "wandb-history.jsonl":
                self.history[run][chunk["offset"] :] = lines
            elif name == "wandb-summary.json":
                self.summaries[run] = lines[-1]
        if body.get("complete"):
            self.exit_codes[run] = body["exitcode"]

    def _upsert_bucket(self, variables: dict[str, Any]) -> dict[str, Any]:
        for name in ("groupName", "displayName"):
            if len(variables.get(name) or "") > LONGEST:
                raise Refused(f"{name} is longer than {LONGEST} characters")
        name = variables.get("name") or self._run_name(variables["id"])
        inserted = name not in self.buckets
        given = {key: value for key, value in variables.items() if value is not None}
        self.buckets[name] = self.buckets.get(name, {}) | given
        bucket = self._bucket(name)
        return {"upsertBucket": {"bucket": bucket, "inserted": inserted}}

    def _run_name(self, identity: str) -> str:
        return identity.removeprefix("id-")

    def _bucket(self, name: str) -> dict[str, Any]:
        history = self.history[name]
        return {
            "id": f"id-{name}",
            "name": name,
            "displayName": self.buckets[name].get("displayName") or name,
            "sweepName": None,
            "config": self.buckets[name].get("config") or "{}",
            "project": {
                "id": "1",
                "name": self.buckets[name].get("project") or "project",
                "entity": {"id": "1", "name": ENTITY},
            },
            "historyLineCount": len(history),
            "eventsLineCount": 0,
            "logLineCount": 0,
            "historyTail": json.dumps([json.dumps(row) for row in history[-1:]]),
            "eventsTail": "[]",
            "summaryMetrics": json.dumps(self.summaries.get(name, {})),
            "tags": self.buckets[name].get("tags") or [],
            "wandbConfig": '{"t": 1}',
        }

    def _resume_status(self, variables: dict[str, Any]) -> dict[str, Any]:
        name = variables["name"]
        bucket = self._bucket(name) if name in self.buckets else None
        return {
            "model": {
                "id": "1",
                "name": variables.get("project"),
                "entity": {"id": "1", "name": ENTITY},
                "bucket": bucket,
            }
        }

    def _create_run_files(self, variables: dict[str, Any]) -> dict[str, Any]:
        files = [{"name": name, **self._upload(f"run/{name}")} for name in variables["files"]]
        return {
            "createRunFiles": {
                "runID": f"id-{variables['run']}",
                "uploadHeaders": [],
                "files": files,
            }
        }

    def _upload(self, path: str) -> dict[str, Any]:
        return {"uploadUrl": f"{self.url}/upload/{path}", "uploadHeaders": []}

    def _create_artifact(self, variables: dict[str, Any]) -> dict[str, Any]:
        variables = variables.get("input", variables)
        identity = next(self._ids)
        name = variables.get("artifactCollectionName") or (variables["artifactCollectionNames"][0])
        self._uploaded[identity] = Artifact(identity, name, variables["artifactTypeName"])
        artifact = {
            "id": identity,
            "state": "PENDING",
            "artifactSequence": {"id": identity, "latestArtifact": None},
        }
        return {"createArtifact": {"artifact": artifact}}

    def _create_manifest(self, variables: dict[str, Any]) -> dict[str, Any]:
        path = f"manifest/{next(self._ids)}"
        if variables.get("includeUpload"):
            self._uploaded[variables["artifactID"]].manifest = path
        file = {"id": "1", "name": "manifest", "displayName": "manifest"} | self._upload(path)
        manifest = {"artifactManifest": {"id": "1", "file": file}}
        return {"createArtifactManifest": manifest, "updateArtifactManifest": manifest}

    def _create_artifact_files(self, variables: dict[str, Any]) -> dict[str, Any]:
        edges = []
        for spec in variables["input"]["artifactFiles"]:
            path = f"artifact/{spec['artifactID']}/{spec['name']}"
            self._uploaded[spec["artifactID"]].files.append(spec["name"])
            node = {"id": "1", "name": spec["name"], "displayName": spec["name"]}
            node |= self._upload(path) | {"storagePath": path, "uploadMultipartUrls": None}
            edges.append({"node": node | {"artifact": {"id": spec["artifactID"]}}})
        return {"createArtifactFiles": {"files": {"edges": edges}}}

    def _commit_artifact(self, variables: dict[str, Any]) -> dict[str, Any]:
        identity = variables["artifactID"]
        artifact = self._uploaded[identity]
        self._committed[artifact.name] = artifact
        self.artifacts[artifact.name] = {
            name: self.uploads[f"artifact/{identity}/{name}"] for name in artifact.files
        }
        return {"commitArtifact": {"artifact": {"id": identity, "digest": "0"}}}

    def _runs(self, variables: dict[str, Any]) -> dict[str, Any]:
        project = variables["project"]
        names = [name for name, one in self.buckets.items() if one.get("project") == project]
        return wandb_reading.runs(names, ENTITY) if names else {"project": None}

    def _artifact_by_name(self, variables: dict[str, Any]) -> dict[str, Any]:
        artifact = self._committed.get(variables["name"].removesuffix(":latest"))
        return wandb_reading.membership(artifact, variables["project"], variables["entity"])

    def _manifest(self, variables: dict[str, Any]) -> dict[str, Any]:
        return wandb_reading.manifest(self._uploaded[variables["id"]], self.url)

    def _file_urls(self, variables: dict[str, Any]) -> dict[str, Any]:
        return wandb_reading.file_urls(self._committed[variables["collection"]], self.url)

    def _upsert_view(self, variables: dict[str, Any]) -> dict[str, Any]:
        self.views.append(variables)
        project = {"id": "1", "name": variables["projectName"], "entityName": ENTITY}
        view = {key: variables[key] for key in ("name", "displayName", "description", "spec")}
        view |= {"id": "1", "type": variables["type"], "project": project, "updatedAt": None}
        return {"upsertView": {"view": view, "inserted": True}}


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def do_GET(self) -> None:
        self._body()
        if not self.path.startswith(("/upload/", "/artifacts")):
            self._reply({})
        elif self._works():
            uploaded = self.server.stand_in.uploads.get(self.path.removeprefix("/upload/"))
            found = uploaded is not None
            self._send(uploaded or b"", "application/octet-stream", 200 if found else 404)

    def do_PUT(self) -> None:
        body = self._body()
        if self._works():
            self.server.stand_in.uploads[self.path.removeprefix("/upload/")] = body
            self._reply({})

    def do_POST(self) -> None:
        body = self._body()
        if not self._works():
            return
        stand_in = self.server.stand_in
        stream = re.fullmatch(r"/files/[^/]+/[^/]+/([^/]+)/file_stream", self.path)
        if stream:
            stand_in.stream(stream[1], json.loads(body))
            self._reply({"exitcode": None, "limits": {}})
        elif self.path == "/graphql":
            asked = json.loads(body)
            query, variables = asked["query"], asked.get("variables") or {}
            named = re.search(r"^\s*(?:query|mutation)\s+(\w+)", query, re.MULTILINE)
            operation = asked.get("operationName") or (named[1] if named else "")
            try:
                self._reply({"data": stand_in.answer(operation, query, variables)})
            except Refused as error:
                self._reply({"errors": [{"message": str(error)}]}, status=400)
        else:
            self._reply({})  # telemetry

    def _works(self) -> bool:
        stand_in = self.server.stand_in
        if stand_in.failure == "hang":
            stand_in.released.wait()
        if stand_in.failure:
            self._reply({"error": "broken"}, status=500)
        return not stand_in.failure

    def _body(self) -> bytes:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if self.headers.get("Content-Encoding") == "gzip":
            body = gzip.decompress(body)
        headers = [f"{k}: {v}" for k, v in self.headers.items() if k != "Authorization"]
        self.server.stand_in.received.append("\n".join([self.path, *headers, ""]).encode() + body)
        return body

    def _reply(self, content: dict[str, Any], status: int = 200) -> None:
        self._send(json.dumps(content).encode(), "application/json", status)

    def _send(self, body: bytes, kind: str, status: int = 200) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        pass


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def __init__(self, stand_in: StandIn) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.stand_in = stand_in
        stand_in.url = f"http://127.0.0.1:{self.server_port}"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Show what is wrong with the stand-in; a client that has gone away is no news."""
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(request, client_address)


@contextmanager
def serving() -> Iterator[StandIn]:
    """Serve a stand-in while the body of a ``with`` runs."""
    stand_in = StandIn()
    server = _Server(stand_in)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield stand_in
    finally:
        stand_in.released.set()
        server.shutdown()
        server.server_close()
        thread.join()
