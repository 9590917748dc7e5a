"""How a job travels to the workers: by cloudpickle, but a teacher goes as the text that names it, and is made there.

So a model is loaded where it is used, and no key is in a pickle. The environment that teachers read is the run's.
"""

from __future__ import annotations

import io
import os
import pickle
from dataclasses import dataclass, field
from typing import Any

from gpt4_instruct.errors import RunStoppedError, UsageError
from gpt4_instruct.teachers.base import Teacher, connect

__all__ = ["environment", "pack", "unpack"]

# What our teachers, and the libraries that they call, read. Of the run's process, whatever a node itself has.
_NAMES = ("GPT4_INSTRUCT_HOME", "HF_ENDPOINT", "HF_HUB_OFFLINE", "HF_TOKEN")
_BEGINNINGS = ("OPENAI_", "VLLM_")
_IN_MEMORY = frozenset({"local", "vllm"})  # endpoints of the teachers that are a model of this process


def environment() -> dict[str, str]:
    """The variables that the teachers of this process are made by."""
    return {name: value for name, value in os.environ.items() if _is_passed(name)}


def _is_passed(name: str) -> bool:
    return name in _NAMES or name.startswith(_BEGINNINGS)


def pack(job: Any) -> tuple[bytes, bool]:
    """A job as bytes, and whether a teacher in it holds a model in memory.

    Raises:
        UsageError: something in it cannot travel.
    """
    from ray import cloudpickle

    endpoints: set[str] = set()

    class Pickler(cloudpickle.Pickler):
        def reducer_override(self, thing: Any) -> Any:
            if isinstance(thing, Teacher):
                endpoints.add(thing.endpoint)
            if isinstance(thing, Teacher) and thing.written is not None:
                return _made_here, (thing.written, thing.endpoint, thing.model)
            return super().reducer_override(thing)  # type: ignore[no-untyped-call]

    file = io.BytesIO()
    try:
        Pickler(file).dump(job)  # type: ignore[no-untyped-call]
    except (TypeError, pickle.PicklingError, AttributeError) as error:
        raise UsageError(
            f"a teacher or a stage of this run cannot travel to the workers ({error}): "
            "name teachers by a text, or run it with the local engine"
        ) from None
    return file.getvalue(), not endpoints.isdisjoint(_IN_MEMORY)


@dataclass
class _Process:
    """What this process has of the run that it works for: the parts of one share its teachers, and so its models."""

    run: str = ""
    jobs: dict[bytes, Any] = field(default_factory=dict)
    teachers: dict[tuple[str, str, str], Teacher] = field(default_factory=dict)


_process = _Process()


def unpack(run: str, job: bytes, environment: dict[str, str]) -> Any:
    """The job of a run, in a worker; its environment is this process's from then on.

    Args:
        run: the name of the run; another one makes its teachers anew.
        job: as `pack` made it.
        environment: of the run.
    """
    if run != _process.run:
        _process.run = run
        _process.jobs.clear()
        _process.teachers.clear()
        for name in [name for name in os.environ if _is_passed(name)]:
            del os.environ[name]
        os.environ.update(environment)
    if job not in _process.jobs:
        _process.jobs.clear()
        _process.jobs[job] = pickle.loads(job)
    return _process.jobs[job]


def _made_here(written: str, endpoint: str, model: str) -> Teacher:
    key = (written, endpoint, model)
    if key not in _process.teachers:
        teacher = connect(written)
        if (teacher.endpoint, teacher.model) != (endpoint, model):
            raise RunStoppedError(
                f"{written} is {teacher.model} at {teacher.endpoint} on a worker, and {model} at {endpoint} on this "
                "computer: the same files and addresses must be found on all machines"
            )
        _process.teachers[key] = teacher
    return _process.teachers[key]
