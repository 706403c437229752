"""What the stand-in for W&B's server answers to those who read: runs, artifacts and their files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

_TIME = "2026-01-01T00:00:00Z"
_LAST = {"pageInfo": {"endCursor": None, "hasNextPage": False}}


@dataclass
class Artifact:
    """An artifact as it is uploaded. ``manifest``: the path that its last one was uploaded to."""

    identity: str
    name: str
    kind: str
    files: list[str] = field(default_factory=list)
    manifest: str = ""


def runs(names: Sequence[str], entity: str) -> dict[str, Any]:
    """Of a project that has runs of these names."""
    unknown = ("sweepName", "group", "jobType", "commit", "heartbeatAt", "description", "notes")
    nodes = [
        {"id": f"id-{name}", "name": name, "displayName": name, "projectId": "1"}
        | {"tags": [], "state": "finished", "readOnly": False, "createdAt": _TIME}
        | {"historyLineCount": 0, "user": {"name": entity, "username": entity}}
        | dict.fromkeys(unknown)
        for name in names
    ]
    edges = [{"node": node, "cursor": node["id"]} for node in nodes]
    own = {"internalId": "1", "runCount": len(names), "readOnly": False}
    return {"project": own | {"runs": {"edges": edges} | _LAST}}


def membership(artifact: Artifact | None, project: str, entity: str) -> dict[str, Any]:
    """Of an artifact by its name and version; nothing if there is none."""
    if artifact is None:
        return {"project": {"artifactCollectionMembership": None}}
    place = {"id": "1", "internalId": "1", "name": project, "entity": {"name": entity}}
    kind = {"__typename": "ArtifactSequence", "name": artifact.name, "project": place}
    own = {"__typename": "Artifact", "id": artifact.identity, "artifactSequence": kind}
    own |= {"versionIndex": 0, "artifactType": {"name": artifact.kind}, "description": None}
    own |= {"metadata": None, "ttlDurationSeconds": 0, "ttlIsInherited": True, "tags": []}
    own |= {"historyStep": None, "state": "COMMITTED", "size": 0, "digest": "0", "aliases": []}
    own |= {"commitHash": None, "fileCount": len(artifact.files), "createdAt": _TIME}
    found = {"__typename": "ArtifactCollectionMembership", "id": "1", "versionIndex": 0}
    found |= {"createdAt": _TIME, "aliases": [], "artifactCollection": kind}
    found |= {"artifact": own | {"updatedAt": None}}
    return {"project": {"artifactCollectionMembership": found}}


def manifest(artifact: Artifact, url: str) -> dict[str, Any]:
    """Where the manifest of an artifact is."""
    file = {"directUrl": f"{url}/upload/{artifact.manifest}"}
    return {"artifact": {"currentManifest": {"file": file}}}


def file_urls(artifact: Artifact, url: str) -> dict[str, Any]:
    """Where the files of an artifact are."""
    where = f"{url}/upload/artifact/{artifact.identity}"
    edges = [
        {"node": {"__typename": "File", "name": name, "directUrl": f"{where}/{name}"}}
        for name in artifact.files
    ]
    found = {"artifactMembership": {"files": {"edges": edges} | _LAST}}
    return {"project": {"artifactCollection": {"__typename": "ArtifactSequence"} | found}}
