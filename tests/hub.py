"""A Hub on loopback, for the real clients: huggingface_hub, datasets, transformers and evaluate, through HF_ENDPOINT.

    with LoopbackHub() as hub:
        run(..., env=hub.environment(home))          # a client's own process, with a cache of its own
        hub.repos["datasets/me/data"].files()        # {"README.md": b"...", ...} on main
        hub.fail("POST */commit/*", 500)             # the next such request is answered with that

Repositories, their commits and their large files are in memory. What a request is answered with follows the Hub's API
(huggingface.co/docs/hub/api) as the client of huggingface_hub 2.4 calls it; nothing here is Xet, so
`environment` tells the clients to send by LFS. One event loop answers, so that each request is atomic, as a commit on the Hub is.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import multiprocessing
import os
import re
from collections.abc import Awaitable, Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime
from fnmatch import fnmatch
from pathlib import Path
from typing import Any, Self

from aiohttp import web

from tests.endpoint import Served

__all__ = ["Asked", "Client", "Commit", "File", "LoopbackHub", "Repository"]

_LFS = re.compile(r"\.(parquet|safetensors|bin|gguf|pt|h5|npz|png|jpg|zip|gz|arrow|model)$|(^|/)tokenizer\.json$")
_REGULAR_BYTES = 10_000_000  # larger files are LFS whatever they are called
_ATTRIBUTES = b"*.parquet filter=lfs diff=lfs merge=lfs -text\n"
_DATE = datetime(2026, 1, 1, tzinfo=UTC).isoformat().replace("+00:00", "Z")
_PREFIXES = {"model": "", "dataset": "datasets/", "space": "spaces/"}
_Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass(frozen=True)
class File:
    """A file in a commit."""

    content: bytes
    lfs: bool = False

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.content).hexdigest()

    @property
    def blob(self) -> str:
        """The git blob id: of the content, or of the LFS pointer that git has instead."""
        content = self.content
        if self.lfs:
            pointer = f"version https://git-lfs.github.com/spec/v1\noid sha256:{self.sha256}\nsize {len(content)}\n"
            content = pointer.encode()
        return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()

    def told(self, path: str) -> dict[str, Any]:
        """As the tree of a repository names it."""
        told = {"type": "file", "oid": self.blob, "size": len(self.content), "path": path}
        return (
            {**told, "lfs": {"oid": self.sha256, "size": len(self.content), "pointerSize": 130}} if self.lfs else told
        )


@dataclass(frozen=True)
class Commit:
    """A state of a repository."""

    id: str
    title: str
    description: str
    parent: str | None
    files: dict[str, File]


@dataclass
class Repository:
    """One repository: its branches, tags and pull requests point at commits."""

    id: str
    kind: str
    private: bool
    commits: dict[str, Commit] = field(default_factory=dict)
    branches: dict[str, str] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    pulls: dict[str, str] = field(default_factory=dict)  # "refs/pr/1": commit
    store: dict[str, bytes] = field(default_factory=dict)  # large files by SHA-256
    parts: dict[str, dict[int, bytes]] = field(default_factory=dict)  # of a large file that is being sent

    def find(self, revision: str) -> Commit | None:
        """The commit that a branch, tag, pull request or id names."""
        revision = revision.removeprefix("refs/heads/").removeprefix("refs/tags/")
        for refs in (self.branches, self.tags, self.pulls):
            if revision in refs:
                return self.commits[refs[revision]]
        return self.commits.get(revision)

    def files(self, revision: str = "main") -> dict[str, bytes]:
        """The content of each file."""
        found = self.find(revision)
        assert found is not None, f"{self.id} has no {revision}"
        return {path: file.content for path, file in found.files.items()}

    def log(self, revision: str = "main") -> list[Commit]:
        """The commits, the newest first."""
        found, log = self.find(revision), []
        while found is not None:
            log.append(found)
            found = self.commits[found.parent] if found.parent else None
        return log

    def add(self, title: str, description: str, parent: str | None, files: dict[str, File]) -> Commit:
        """Makes a commit; nothing points at it yet."""
        tree = {path: file.blob for path, file in sorted(files.items())}
        content = json.dumps([title, description, parent, tree, len(self.commits)])
        commit = Commit(hashlib.sha1(content.encode()).hexdigest(), title, description, parent, files)
        self.commits[commit.id] = commit
        return commit


@dataclass
class Asked:
    """A request and what became of it; `status` is 0 where the connection was cut."""

    method: str
    path: str
    status: int
    sent: int  # bytes of its body
    token: str | None


@dataclass
class _Fault:
    pattern: str
    status: int
    times: int
    headers: dict[str, str]
    message: str
    cut: str | None  # "before": the body is not read to its end; "after": all is done, but the answer is lost
    delay_s: float


class LoopbackHub(Served):
    """The Hub, as a context manager.

    Attributes:
        url: for HF_ENDPOINT.
        token: of the user ``me``, who may write in ``me/`` and ``lab/``.
        read_token: of the same user, for reading only.
        repos: by ``KINDs/NAME/REPO``, such as ``datasets/me/data`` and ``models/me/model``.
        requests: every request in order.
        part_bytes: large files of more than this are sent in parts.
    """

    token = "hf_loopbackWrite0123456789abcdefghijk"
    read_token = "hf_loopbackRead00123456789abcdefghijk"
    namespaces = ("me", "lab")

    def __init__(self, *, part_bytes: int = 5_000_000) -> None:
        super().__init__()
        self.repos: dict[str, Repository] = {}
        self.requests: list[Asked] = []
        self.part_bytes = part_bytes
        self._faults: list[_Fault] = []

    def __enter__(self) -> Self:
        super().__enter__()
        self.url = self.url.removesuffix("/v1")
        return self

    def environment(self, home: Path, token: str | None = None) -> dict[str, str]:
        """What makes a client's process speak with this Hub, with caches of its own below `home`."""
        return {
            "HF_ENDPOINT": self.url,
            "HF_TOKEN": self.token if token is None else token,
            "HF_HOME": str(home),
            "HF_HUB_OFFLINE": "0",
            "HF_HUB_DISABLE_XET": "1",
            "HF_HUB_DISABLE_TELEMETRY": "1",
        }

    def fail(
        self,
        pattern: str,
        status: int = 500,
        *,
        times: int = 1,
        message: str = "planted",
        headers: dict[str, str] | None = None,
        cut: str | None = None,
        delay_s: float = 0.0,
    ) -> None:
        """Makes the next requests fail.

        Args:
            pattern: of ``"METHOD /path"``, such as ``"PUT /lfs/*"``.
            status: what they are answered with.
            times: how many of them.
            message: the error's.
            headers: of the answer, such as Retry-After.
            cut: ``"before"`` cuts the connection in the middle of the request's body, ``"after"`` does all that was
                asked and cuts it before the answer.
            delay_s: before anything else.
        """
        self._faults.append(_Fault(pattern, status, times, headers or {}, message, cut, delay_s))

    @property
    def planted(self) -> list[str]:
        """The patterns of the faults that are still to come."""
        return [each.pattern for each in self._faults if each.times > 0]

    def heal(self) -> None:
        """Takes every planted fault back."""
        self._faults.clear()

    def asked(self, pattern: str) -> list[Asked]:
        """The requests of a pattern, such as ``"POST */commit/*"``."""
        return [each for each in self.requests if fnmatch(f"{each.method} {each.path}", pattern)]

    # --- the server -------------------------------------------------------------------------------------------------

    def application(self) -> web.Application:
        app = web.Application(client_max_size=1 << 30, middlewares=[self._recorded])
        add = app.router.add_route
        repo = "/api/{kinds:models|datasets|spaces}/{owner}/{name}"
        add("GET", "/api/whoami-v2", self._whoami)
        add("POST", "/api/validate-yaml", self._validate)
        add("POST", "/api/repos/create", self._create)
        add("GET", repo, self._info)
        add("GET", f"{repo}/revision/{{revision}}", self._info)
        add("GET", f"{repo}/tree/{{revision}}", self._tree)
        add("GET", f"{repo}/tree/{{revision}}/{{path:.+}}", self._tree)
        add("POST", f"{repo}/paths-info/{{revision}}", self._paths_info)
        add("GET", f"{repo}/refs", self._refs)
        add("GET", f"{repo}/commits/{{revision}}", self._commits)
        add("POST", f"{repo}/preupload/{{revision}}", self._preupload)
        add("POST", f"{repo}/commit/{{revision}}", self._commit)
        add("POST", f"{repo}/branch/{{revision}}", self._branch)
        add("POST", f"{repo}/tag/{{revision}}", self._tag)
        add("PUT", f"{repo}/settings", self._settings)
        for kind, prefix in _PREFIXES.items():
            add("POST", f"/{prefix}{{owner}}/{{name}}.git/info/lfs/objects/batch", self._of(kind, self._batch))
            add("*", f"/{prefix}{{owner}}/{{name}}/resolve/{{revision}}/{{path:.+}}", self._of(kind, self._resolve))
        add("PUT", "/lfs/{kinds}/{owner}/{name}/{oid}", self._put)
        add("PUT", "/lfs/{kinds}/{owner}/{name}/{oid}/{part}", self._put)
        add("POST", "/lfs/{kinds}/{owner}/{name}/{oid}", self._put_together)
        add("POST", "/verify/{kinds}/{owner}/{name}", self._verify)
        return app

    @web.middleware
    async def _recorded(self, http: web.Request, handler: _Handler) -> web.StreamResponse:
        token = http.headers.get("Authorization", "").removeprefix("Bearer ") or None
        asked = Asked(http.method, http.rel_url.raw_path, 0, http.content_length or 0, token)
        self.requests.append(asked)
        fault = self._fault(f"{asked.method} {asked.path}")
        if fault:
            await asyncio.sleep(fault.delay_s)
        if fault and fault.cut == "before":
            await http.content.read(max(1, asked.sent // 2))
            return self._abort(http)
        if fault and not fault.cut and fault.status:
            await http.read()
            asked.status = fault.status
            return _error(fault.status, fault.message, headers=fault.headers)
        if token not in (None, self.token, self.read_token) and not asked.path.startswith(("/lfs/", "/verify/")):
            asked.status = 401
            return _error(401, "Invalid credentials in Authorization header")
        try:
            response = await handler(http)
        except _Refused as error:
            response = _error(error.status, error.message, error.headers)
        except web.HTTPException as error:  # no such path
            response = _error(error.status, error.reason)
        if fault and fault.cut == "after":
            return self._abort(http)
        asked.status = response.status
        return response

    def _fault(self, asked: str) -> _Fault | None:
        found = next((each for each in self._faults if each.times > 0 and fnmatch(asked, each.pattern)), None)
        if found:
            found.times -= 1
        return found

    def _abort(self, http: web.Request) -> web.Response:
        assert http.transport is not None
        http.transport.abort()
        return web.Response()

    def _of(self, kind: str, handler: Callable[[web.Request, str], Awaitable[web.StreamResponse]]) -> _Handler:
        async def handle(http: web.Request) -> web.StreamResponse:
            return await handler(http, f"{kind}s")

        return handle

    def _token(self, http: web.Request) -> str | None:
        return http.headers.get("Authorization", "").removeprefix("Bearer ") or None

    def _repo(self, http: web.Request, kinds: str | None = None, *, write: bool = False) -> Repository:
        """The repository of a request, if whoever asks may see it, or write to it."""
        kinds = kinds or http.match_info["kinds"]
        id = f"{http.match_info['owner']}/{http.match_info['name']}"
        found, token = self.repos.get(f"{kinds}/{id}"), self._token(http)
        if found is None or (found.private and token is None):
            raise _Refused(404 if token else 401, "Repository not found", "RepoNotFound")
        if write and token is None:
            raise _Refused(401, "Invalid username or password.")
        if write and (token != self.token or http.match_info["owner"] not in self.namespaces):
            raise _Refused(403, f"You don't have write access to {id}")
        return found

    def _state(self, http: web.Request, repo: Repository) -> Commit:
        revision = http.match_info.get("revision", "main")
        found = repo.find(revision)
        if found is None:
            raise _Refused(404, f"Invalid rev id: {revision}", "RevisionNotFound")
        return found

    # --- reading ----------------------------------------------------------------------------------------------------

    async def _whoami(self, http: web.Request) -> web.Response:
        token = self._token(http)
        if token is None:
            return _error(401, "Invalid username or password.")
        role = "write" if token == self.token else "read"
        auth = {"type": "access_token", "accessToken": {"displayName": "loopback", "role": role}}
        orgs = [{"type": "org", "name": name} for name in self.namespaces[1:]]
        return web.json_response({"type": "user", "name": "me", "fullname": "Me", "orgs": orgs, "auth": auth})

    async def _info(self, http: web.Request) -> web.Response:
        repo = self._repo(http)
        state = self._state(http, repo)
        card = (
            _yaml_of(state.files["README.md"].content.decode(errors="replace")) if "README.md" in state.files else None
        )
        siblings = []
        for path, file in sorted(state.files.items()):
            sizes: dict[str, Any] = {"size": len(file.content), "blobId": file.blob}
            if file.lfs:
                sizes["lfs"] = {"sha256": file.sha256, "size": len(file.content), "pointerSize": 130}
            siblings.append({"rfilename": path, **(sizes if http.query.get("blobs") else {})})
        told = {
            "_id": repo.id,
            "id": repo.id,
            "modelId": repo.id,
            "author": repo.id.split("/")[0],
            "sha": state.id,
            "private": repo.private,
            "gated": False,
            "disabled": False,
            "downloads": 0,
            "likes": 0,
            "tags": [],
            "createdAt": _DATE,
            "lastModified": _DATE,
            "cardData": card if isinstance(card, dict) else None,
            "siblings": siblings,
        }
        wanted = {*http.query.getall("expand", []), *http.query.getall("expand[]", [])}
        if wanted:
            told = {key: value for key, value in told.items() if key in {"_id", "id", *wanted}}
        return web.json_response(told)

    async def _tree(self, http: web.Request) -> web.Response:
        state = self._state(http, self._repo(http))
        below = http.match_info.get("path", "").strip("/")
        prefix = f"{below}/" if below else ""
        files = {path: file for path, file in state.files.items() if path.startswith(prefix)}
        if below and not files:
            raise _Refused(404, f"{below} does not exist on revision", "EntryNotFound")
        found: dict[str, dict[str, Any]] = {}
        deep = http.query.get("recursive", "").lower() in ("true", "1")
        for path, file in sorted(files.items()):
            parents = path.removeprefix(prefix).split("/")[:-1]
            for depth in range(1, (len(parents) if deep else min(1, len(parents))) + 1):
                folder = prefix + "/".join(parents[:depth])
                oid = hashlib.sha1(folder.encode()).hexdigest()
                found[folder] = {"type": "directory", "oid": oid, "size": 0, "path": folder}
            if deep or not parents:
                found[path] = file.told(path)
        return web.json_response(list(found.values()))

    async def _paths_info(self, http: web.Request) -> web.Response:
        state = self._state(http, self._repo(http))
        if http.content_type == "application/json":
            paths = (await http.json())["paths"]
        else:
            paths = (await http.post()).getall("paths", [])
        found = [state.files[path].told(path) for path in paths if path in state.files]
        for path in paths:
            if path not in state.files and any(each.startswith(f"{path}/") for each in state.files):
                found.append({"type": "directory", "oid": "0" * 40, "size": 0, "path": path})
        return web.json_response(found)

    async def _refs(self, http: web.Request) -> web.Response:
        repo = self._repo(http)

        def told(names: dict[str, str], prefix: str) -> list[dict[str, str]]:
            return [{"name": name, "ref": f"{prefix}{name}", "targetCommit": id} for name, id in names.items()]

        pulls = [{"name": ref.rpartition("/")[2], "ref": ref, "targetCommit": id} for ref, id in repo.pulls.items()]
        branches, tags = told(repo.branches, "refs/heads/"), told(repo.tags, "refs/tags/")
        return web.json_response({"branches": branches, "converts": [], "tags": tags, "pullRequests": pulls})

    async def _commits(self, http: web.Request) -> web.Response:
        repo = self._repo(http)
        log = repo.log(self._state(http, repo).id)
        return web.json_response(
            [
                {"id": each.id, "title": each.title, "message": each.description, "date": _DATE, "authors": []}
                for each in log
            ]
        )

    async def _resolve(self, http: web.Request, kinds: str) -> web.StreamResponse:
        if http.method not in ("GET", "HEAD"):
            raise _Refused(405, "Method not allowed")
        state = self._state(http, self._repo(http, kinds))
        file = state.files.get(http.match_info["path"])
        if file is None:
            raise _Refused(404, "Entry not found", "EntryNotFound", {"X-Repo-Commit": state.id})
        headers = {"ETag": f'"{file.blob}"', "X-Repo-Commit": state.id, "Accept-Ranges": "bytes"}
        if file.lfs:
            headers |= {"X-Linked-Etag": f'"{file.sha256}"', "X-Linked-Size": str(len(file.content))}
        content, status = file.content, 200
        asked = re.fullmatch(r"bytes=(\d*)-(\d*)", http.headers.get("Range", ""))
        if asked:
            size = len(content)
            first = int(asked[1]) if asked[1] else max(0, size - int(asked[2]))
            last = min(int(asked[2]), size - 1) if asked[1] and asked[2] else size - 1
            if first >= size:
                raise _Refused(416, "Range not satisfiable", None, {"Content-Range": f"bytes */{size}"})
            content, status = content[first : last + 1], 206
            headers["Content-Range"] = f"bytes {first}-{last}/{size}"
        return web.Response(status=status, headers=headers, body=content, content_type="application/octet-stream")

    # --- writing ----------------------------------------------------------------------------------------------------

    async def _create(self, http: web.Request) -> web.Response:
        asked = await http.json()
        owner, kind = asked.get("organization") or "me", asked.get("type") or "model"
        id, token = f"{owner}/{asked['name']}", self._token(http)
        if token is None:
            raise _Refused(401, "Invalid username or password.")
        if token != self.token or owner not in self.namespaces:
            raise _Refused(403, f"You don't have the rights to create a {kind} under the namespace {owner!r}")
        url = f"{self.url}/{_PREFIXES[kind]}{id}"
        if f"{kind}s/{id}" in self.repos:
            return web.json_response({"error": f"You already created this {kind} repo", "url": url}, status=409)
        private = asked.get("visibility") == "private" or bool(asked.get("private"))
        repo = self.repos[f"{kind}s/{id}"] = Repository(id, kind, private)
        repo.branches["main"] = repo.add("initial commit", "", None, {".gitattributes": File(_ATTRIBUTES)}).id
        return web.json_response({"url": url, "name": id, "id": id})

    async def _settings(self, http: web.Request) -> web.Response:
        repo, asked = self._repo(http, write=True), await http.json()
        repo.private = asked["visibility"] == "private" if "visibility" in asked else bool(asked["private"])
        return web.json_response({"private": repo.private})

    async def _branch(self, http: web.Request) -> web.Response:
        repo, name = self._repo(http, write=True), http.match_info["revision"]
        start = (await http.json()).get("startingPoint") or "main"
        found = repo.find(start)
        if found is None:
            raise _Refused(404, f"Invalid rev id: {start}", "RevisionNotFound")
        if name in repo.branches:
            raise _Refused(409, f"Reference already exists: refs/heads/{name}")
        repo.branches[name] = found.id
        return web.json_response({})

    async def _tag(self, http: web.Request) -> web.Response:
        repo, name = self._repo(http, write=True), (await http.json())["tag"]
        state = self._state(http, repo)
        if name in repo.tags:
            raise _Refused(409, f"Tag reference exists already: {name}")
        repo.tags[name] = state.id
        return web.json_response({})

    async def _validate(self, http: web.Request) -> web.Response:
        asked = await http.json()
        try:
            metadata = _yaml_of(asked["content"])
        except ValueError as error:
            return web.json_response({"errors": [{"message": str(error)}], "warnings": []}, status=400)
        missing = {"message": "empty or missing yaml metadata in repo card"}
        return web.json_response({"errors": [], "warnings": [] if metadata else [missing]})

    async def _preupload(self, http: web.Request) -> web.Response:
        repo = self._repo(http, write=not http.query.get("create_pr"))
        state, told = self._state(http, repo), []
        for each in (await http.json())["files"]:
            large = bool(_LFS.search(each["path"])) or each["size"] > _REGULAR_BYTES
            known = state.files.get(each["path"])
            one = {"path": each["path"], "uploadMode": "lfs" if large else "regular", "shouldIgnore": False}
            told.append({**one, **({"oid": known.sha256 if known.lfs else known.blob} if known else {})})
        return web.json_response({"files": told})

    async def _batch(self, http: web.Request, kinds: str) -> web.Response:
        repo = self._repo(http, kinds, write=True)
        objects = []
        for each in (await http.json())["objects"]:
            told: dict[str, Any] = {"oid": each["oid"], "size": each["size"]}
            if each["oid"] not in repo.store:
                url = f"{self.url}/lfs/{kinds}/{repo.id}/{each['oid']}"
                header: dict[str, str] = {}
                if each["size"] > self.part_bytes:
                    count = -(-each["size"] // self.part_bytes)
                    header = {str(part): f"{url}/{part}" for part in range(1, count + 1)}
                    header["chunk_size"] = str(self.part_bytes)
                verify = {"href": f"{self.url}/verify/{kinds}/{repo.id}"}
                told["actions"] = {"upload": {"href": url, "header": header}, "verify": verify}
            objects.append(told)
        return web.json_response({"transfer": "basic", "objects": objects})

    def _stored(self, http: web.Request) -> Repository:
        return self.repos[f"{http.match_info['kinds']}/{http.match_info['owner']}/{http.match_info['name']}"]

    async def _put(self, http: web.Request) -> web.Response:
        repo, oid, content = self._stored(http), http.match_info["oid"], await http.read()
        if "part" in http.match_info:
            repo.parts.setdefault(oid, {})[int(http.match_info["part"])] = content
        elif hashlib.sha256(content).hexdigest() != oid:
            raise _Refused(400, "the content is not what its SHA-256 says")
        else:
            repo.store[oid] = content
        return web.Response(headers={"ETag": f'"{hashlib.md5(content).hexdigest()}"'})

    async def _put_together(self, http: web.Request) -> web.Response:
        repo, oid, asked = self._stored(http), http.match_info["oid"], await http.json()
        parts = repo.parts.pop(oid, {})
        content = b"".join(parts.get(each["partNumber"], b"") for each in asked["parts"])
        if hashlib.sha256(content).hexdigest() != oid:
            raise _Refused(400, "the parts are not what their SHA-256 says")
        repo.store[oid] = content
        return web.json_response({"success": True})

    async def _verify(self, http: web.Request) -> web.Response:
        asked = await http.json()
        if len(self._stored(http).store.get(asked["oid"], b"")) != asked["size"]:
            raise _Refused(404, "no such object")
        return web.json_response({})

    async def _commit(self, http: web.Request) -> web.Response:
        pull = bool(http.query.get("create_pr"))
        repo = self._repo(http, write=not pull)
        state, revision = self._state(http, repo), http.match_info["revision"]
        header, *lines = [json.loads(line) for line in (await http.read()).splitlines() if line.strip()]
        parent = header["value"].get("parentCommit")
        if parent and pull and parent in repo.commits:
            state = repo.commits[parent]
        elif parent and not state.id.startswith(parent):
            raise _Refused(412, "A commit has happened since. Please refresh and try again.")
        if not pull and revision not in repo.branches and revision not in repo.pulls:
            raise _Refused(404, f"Invalid rev id: {revision}", "RevisionNotFound")
        files = dict(state.files)
        for line in lines:
            _change(repo, files, line["key"], line["value"])
        if "README.md" in files:
            try:
                _yaml_of(files["README.md"].content.decode())
            except ValueError as error:
                raise _Refused(400, str(error))
        made = repo.add(header["value"]["summary"], header["value"].get("description", ""), state.id, files)
        url = f"{self.url}/{_PREFIXES[repo.kind]}{repo.id}"
        told = {"success": True, "commitOid": made.id, "commitUrl": f"{url}/commit/{made.id}", "hookOutput": ""}
        if pull:
            number = len(repo.pulls) + 1
            repo.pulls[f"refs/pr/{number}"] = made.id
            told["pullRequestUrl"] = f"{url}/discussions/{number}"
        else:
            (repo.branches if revision in repo.branches else repo.pulls)[revision] = made.id
        return web.json_response(told)


class Client:
    """A process that speaks with a Hub by the real libraries, from empty caches; a context manager.

    ``client.call(function, *arguments)`` runs a function of a test file there and returns what it returns, or raises
    what it raises. The process starts once: what costs is the import of the libraries.
    """

    def __init__(self, hub: LoopbackHub, home: Path, **environment: str) -> None:
        wanted = {**hub.environment(home), **environment}
        before = {name: os.environ.get(name) for name in wanted}
        os.environ.update(wanted)
        try:
            self._pool = ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn"))
            self._pool.submit(os.getpid).result(60)  # it has taken its environment over
        finally:
            for name, value in before.items():
                os.environ.pop(name) if value is None else os.environ.__setitem__(name, value)

    def call(self, function: Callable[..., Any], *arguments: Any, **named: Any) -> Any:
        """What the function returns there."""
        return self._pool.submit(function, *arguments, **named).result(120)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._pool.shutdown()


class _Refused(Exception):
    """An error as the Hub answers it; raised anywhere, it leaves everything as it was."""

    def __init__(self, status: int, message: str, code: str | None = None, headers: dict[str, str] | None = None):
        super().__init__(message)
        self.status, self.message = status, message
        self.headers = {**({"X-Error-Code": code} if code else {}), **(headers or {})}


def _error(status: int, message: str, headers: dict[str, str] | None = None) -> web.Response:
    said = {"X-Error-Message": message.encode("ascii", "replace").decode(), **(headers or {})}
    return web.json_response({"error": message}, status=status, headers=said)


def _change(repo: Repository, files: dict[str, File], key: str, value: dict[str, Any]) -> None:
    """One line of a commit."""
    path = value["path"]
    if key == "file":
        files[path] = File(base64.b64decode(value["content"]))
    elif key == "lfsFile":
        if value["oid"] not in repo.store:
            raise _Refused(400, f"LFS pointer pointed to a file that does not exist: {path}")
        files[path] = File(repo.store[value["oid"]], lfs=True)
    elif key == "deletedFile":
        if files.pop(path, None) is None:
            raise _Refused(404, f"A file with this name doesn't exist: {path}", "EntryNotFound")
    elif key == "deletedFolder":
        for each in [each for each in files if each.startswith(f"{path.rstrip('/')}/")]:
            del files[each]
    else:
        raise _Refused(400, f"unknown key {key}")


def _yaml_of(text: str) -> Any:
    """The metadata of a card. Raises ValueError where the Hub would refuse them."""
    import yaml

    found = re.match(r"\s*---[ \t]*\r?\n(.*?)^---[ \t]*\r?$", text, re.DOTALL | re.MULTILINE)
    if found is None:
        return None
    try:
        metadata = yaml.safe_load(found[1])
    except yaml.YAMLError as error:
        raise ValueError(f"invalid YAML: {' '.join(str(error).split())}")
    if metadata is not None and not isinstance(metadata, dict):
        raise ValueError("the metadata are no mapping")
    licence = (metadata or {}).get("license")
    for each in licence if isinstance(licence, list) else [licence]:
        if each is not None and not re.fullmatch(r"[a-z0-9][a-z0-9.+-]*", str(each)):
            raise ValueError(f'"license" must be one of the known licences, not {each!r}')
    return metadata
