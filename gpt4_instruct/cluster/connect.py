"""Joins a Ray cluster, or starts one on this computer, and says in a line what is wrong where neither works."""

from __future__ import annotations

import logging
import os
import re
import socket
import threading
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any
from urllib.parse import urlsplit

import gpt4_instruct
from gpt4_instruct.errors import MissingExtraError, RunStoppedError, UsageError

__all__ = ["address", "join", "leave", "needs_of", "node_of_driver", "told", "workers_of"]

_REACH_S = 10.0
# What a client of gRPC says first, without settings, and the type of what it hears then (RFC 9113, 3.4 and 6.5).
_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\0\0\0\4\0\0\0\0\0"
_SETTINGS = 4
_PLACE = re.compile(r"\bip=([^,)\s]+)")
_MISSING = re.compile(r"ModuleNotFoundError: No module named '([^']+)'")
# What Ray's errors do not say, by their names.
_SHORT_OF = {
    "OutOfDiskError": "a machine's disk is full, and its memory does not hold what Ray would put there: free some, or "
    "start its part of the cluster with 'ray start --object-spilling-directory' on another disk",
    "OutOfMemoryError": "its machine has too little memory: start its part of the cluster with fewer '--num-cpus'",
}
_joining = threading.Lock()
_starter = ThreadPoolExecutor(1, "gpt4-instruct-ray")
_users: list[None] = []  # one for each thread in the cluster that `join` joined or started: they share it
# Ray reports how it is used unless it is told not to, before it starts.
_QUIET = {"RAY_USAGE_STATS_ENABLED": "0"}


def join(address: str) -> bool:
    """Joins the cluster at an address; a process that is in one already stays there.

    Args:
        address: as Ray has it: ``HOST:PORT`` or ``auto``; empty for ``RAY_ADDRESS``, or else for a cluster on this
            computer, which is started.

    Returns:
        whether it is not the caller's own, so that `leave` takes this process out again, when nobody here needs it.

    Raises:
        MissingExtraError: Ray is not installed.
        UsageError: there is no cluster there, or none can be started here.
        RunStoppedError: one of its machines has not this package, or another version of it.
    """
    for name, value in _QUIET.items():
        os.environ.setdefault(name, value)
    try:
        import ray
    except ImportError:
        raise MissingExtraError("the engine ray", "ray", "ray") from None
    with _joining:
        if not ray.is_initialized():
            _begin(address or os.environ.get("RAY_ADDRESS") or "local")
            _users.clear()
        elif not _users:
            _check_versions()
            return False
        _users.append(None)
    return True


def _begin(where: str) -> None:
    import ray

    _reach(where)
    own: dict[str, Any] = {"include_dashboard": False} if where == "local" else {}
    init = partial(ray.init, address=where, log_to_driver=False, logging_level=logging.ERROR, **own)
    try:
        if threading.current_thread() is threading.main_thread():
            init()
        else:  # what Ray starts would end with the thread that started it, though others need it
            _starter.submit(init).result()
    except (ImportError, OSError, RuntimeError, ValueError) as error:
        if where == "local":
            cure = "RAY_TMPDIR names another folder for its files, whose path must be short"
            raise UsageError(f"Ray cannot start on this computer ({_first_line(error)}): {cure}") from None
        if "InvalidAuthToken" in str(error.__cause__):  # which those of 'ray start' ask for in newer versions
            raise UsageError(
                f"the Ray cluster at {where} asks for a token: set RAY_AUTH_MODE=token, and copy its ~/.ray/auth_token"
            ) from None
        raise UsageError(f"no Ray cluster at {where} ({_first_line(error)}): 'ray start --head' starts one") from None
    try:
        if where != "local":
            _check_versions()
    except BaseException:
        ray.shutdown()
        raise


def _check_versions() -> None:
    """Has each machine import this package; else the first of them that needs it would fail, in Ray's many words."""
    import ray

    affinity = ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy
    look = ray.remote(_version)
    nodes: list[dict[str, Any]] = ray.nodes()  # type: ignore[no-untyped-call]
    found = {
        look.options(num_cpus=0, max_retries=0, scheduling_strategy=affinity(node["NodeID"], soft=True)).remote(): node[
            "NodeManagerAddress"
        ]
        for node in nodes
        if node["Alive"]
    }
    for each, machine in found.items():
        try:
            version = ray.get(each)
        except ray.exceptions.RayTaskError as error:
            raise told(error) from None
        except ray.exceptions.RayError:
            continue  # lost meanwhile, as it may be later, too
        if version != _version():
            raise RunStoppedError(
                f"the worker on {machine} has gpt4-instruct {version}, and here is {_version()}: install one of them"
            )


def _version() -> str:
    return gpt4_instruct.__version__


def _reach(address: str) -> None:
    """Raises UsageError where nobody listens, or nothing of Ray's: Ray itself would try for minutes."""
    if address in {"local", "auto"}:
        return
    try:
        parts = urlsplit(address if "://" in address else f"//{address}")
        port = parts.port
    except ValueError:
        raise _no_address(address) from None
    if parts.scheme == "ray":
        raise UsageError(
            f"a run must be on a machine of its cluster, and {address} is for others: start it there, "
            "as by 'ray job submit', with ray:auto"
        )
    if not parts.hostname or port is None:
        raise _no_address(address)
    try:
        with socket.create_connection((parts.hostname, port), timeout=_REACH_S) as connection:
            if os.environ.get("RAY_USE_TLS") == "1":
                return
            connection.sendall(_PREFACE)
            with connection.makefile("rb") as said:
                head = said.read(4)  # the length of a frame, and its type
    except OSError as error:
        raise UsageError(
            f"no Ray cluster at {address} ({error.strerror or error}): 'ray start --head' starts one there"
        ) from None
    if head[-1:] != bytes([_SETTINGS]):
        raise UsageError(
            f"what listens at {address} is no Ray cluster: name the port that 'ray start --head' tells, mostly 6379"
        )


def _no_address(address: str) -> UsageError:
    return UsageError(f"{address!r} is no address of a Ray cluster: write ray:HOST:6379, ray:auto or ray")


def leave(joined: bool) -> None:
    """Ends a cluster that was started by `join`, and parts from one that was there, which stays as it is.

    Where other threads of this process are in it, too, the last one does that.

    Args:
        joined: what `join` returned.
    """
    import ray

    if not joined:
        return
    with _joining:
        del _users[-1:]
        if not _users and ray.is_initialized():
            ray.shutdown()


def workers_of() -> int:
    """How many workers the cluster has room for: one a CPU."""
    import ray

    resources: dict[str, float] = ray.cluster_resources()  # type: ignore[no-untyped-call]
    return max(1, int(resources.get("CPU", 1)))


def needs_of(model: bool) -> dict[str, float]:
    """What a worker takes of a machine, as Ray's options.

    Args:
        model: it holds one in memory. Then it takes a GPU, or, where the cluster has none, all CPUs of the smallest
            machine, so that no two are on one; else a CPU.
    """
    import ray

    nodes: list[dict[str, Any]] = ray.nodes()  # type: ignore[no-untyped-call]
    found: list[dict[str, float]] = [node["Resources"] for node in nodes if node["Alive"]]
    if not model:
        return {"num_cpus": 1}
    if any(each.get("GPU") for each in found):
        return {"num_cpus": 1, "num_gpus": 1}
    return {"num_cpus": min((each["CPU"] for each in found if each.get("CPU")), default=1)}


def address() -> str:
    """The address of the machine that this process is on."""
    import ray

    return str(ray.util.get_node_ip_address())  # type: ignore[no-untyped-call]


def node_of_driver() -> str:
    """The node on which this process is."""
    import ray

    return str(ray.get_runtime_context().get_node_id())


def told(error: Exception) -> Exception:
    """What Ray says of a worker, as an error of ours where it is one that users can do something about.

    Args:
        error: what `ray.get` raised.
    """
    text = str(error)
    place = _PLACE.search(text)
    where = f"the worker on {place[1]}" if place else "a worker"
    if missing := _MISSING.search(text):
        name = missing[1].partition(".")[0]
        cure = (
            "pip install gpt4-instruct there, of the same version"
            if name == "gpt4_instruct"
            else f"install {name} there, too"
        )
        return RunStoppedError(f"{where} has no module {missing[1]!r}: {cure}")
    cause = getattr(error, "cause", None) or error
    if short := _SHORT_OF.get(type(cause).__name__):
        return RunStoppedError(f"{where} failed: {short}")
    return RunStoppedError(f"{where} failed: {type(cause).__name__}: {_first_line(cause)}")


def _first_line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0][:300] if lines else type(error).__name__
