"""The rating page as a Space: the folder that is pushed, and the server that runs in it.

my-study/
  README.md          what the Hub reads (title, sdk, ...), then what to do before raters come, and with their votes
  app.py             runs `serve_rating_space` on this folder
  requirements.txt   this package, in this version
  pairs.jsonl        {"key": "9f3c...", "question": "1", "instruction": "How ...?", "input": "", "ours": "Go ...",
                      "baseline": "Try ...", "expected": null}; attention checks among them
  study.json         {"language": "en", "settings": {"ours": "sft.jsonl", "baseline": "alpaca.jsonl", "seed": 0, ...}}

Answers are paired when the folder is written, and nothing else of their files is in it. A Space's own disk is gone when
it restarts; what lasts is a bucket that is mounted at ``/data``. Such a mount takes whole files and knows no locks, so
no database can be open in it: the votes are in one on the disk, which is copied there as a file, soon after each change
and at the end, and a new start begins with the copy. Without such a place, they are in ``votes`` below the folder.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import sqlite3
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from gpt4_instruct import __version__
from gpt4_instruct.errors import MissingExtraError, OutputError, UsageError
from gpt4_instruct.evaluation.rating import Study
from gpt4_instruct.evaluation.rating_page import app_of
from gpt4_instruct.evaluation.rating_pairs import Pair
from gpt4_instruct.evaluation.rating_server import check_serving, guarded, plan
from gpt4_instruct.evaluation.rating_words import WORDS
from gpt4_instruct.publishing.rendering import render
from gpt4_instruct.publishing.spaces import space_metadata, write_files
from gpt4_instruct.storage import read_json, replacing

__all__ = ["RatingSpace", "serve_rating_space", "write_rating_space"]

_KEEP_S = 10  # seconds after which votes that changed are copied to where they last
_END_S = 5  # seconds that open pages have when the server is stopped: the Hub soon kills it


@dataclass(frozen=True, slots=True)
class RatingSpace:
    """A folder that was written.

    Attributes:
        folder: where it is.
        questions: how many are rated.
        checks: attention checks among them.
        left_out: see `rating_pairs.find_pairs`.
    """

    folder: Path
    questions: int
    checks: int
    left_out: dict[str, int]


def write_rating_space(
    answers: str | Path,
    baseline: str | Path,
    out: str | Path,
    *,
    questions: Any = None,
    raters: Sequence[str] | None = None,
    per_question: int | None = None,
    attention: int = 20,
    language: str = "en",
    seed: int = 0,
    requirement: str | None = None,
    overwrite: bool = False,
) -> RatingSpace:
    """Writes the rating page of two files of answers as the folder of a Space.

    Args:
        answers: of the model that is rated; see `rating_server.serve`.
        baseline: of the model that it is compared with.
        out: the folder.
        questions: where neither file holds them; see `rating_server.serve`.
        raters: names; only these may rate. By default anybody who types a name.
        per_question: raters of each question; by default 3, or all of them if fewer are named.
        attention: after so many questions comes an attention check; 0 for none.
        language: of the page's own words, ``"en"`` or ``"zh"``.
        seed: of sides, orders and checks.
        requirement: what pip installs in the Space; by default this version of this package. A version that no index
            has needs an address: ``"gpt4-instruct[human] @ git+https://..."``.
        overwrite: write anew what is there.

    Raises:
        UsageError: an argument cannot work.
        SourceError: the answers cannot be read, or have no question in common.
        OutputError: the folder cannot be written, or holds something already.
    """
    check_serving("127.0.0.1", None, language)
    pairs, settings = plan(
        answers,
        baseline,
        questions=questions,
        raters=raters,
        per_question=per_question,
        attention=attention,
        seed=seed,
    )
    checks = sum(each.expected is not None for each in pairs)
    title = WORDS[language]["title"]
    readme = render(
        "rating_space.md",
        metadata=space_metadata(title, "Two answers side by side, rated blind", emoji="🗳️", tags=["gpt4-instruct"]),
        title=title,
        questions=len(pairs) - checks,
        checks=checks,
        raters=settings["raters"],
        ours=settings["ours"],
        baseline=settings["baseline"],
        votes=_votes_name(pairs, settings),
        keep_s=_KEEP_S,
    )
    files = {
        "pairs.jsonl": "".join(json.dumps(asdict(each), ensure_ascii=False) + "\n" for each in pairs),
        "study.json": json.dumps({"language": language, "settings": settings}, ensure_ascii=False, indent=2) + "\n",
        "requirements.txt": f"{requirement or f'gpt4-instruct[human]=={__version__}'}\n",
        "app.py": _APP,
        ".gitignore": "votes/\n",
        "README.md": readme,
    }
    folder = Path(out).expanduser()
    write_files(folder, files, overwrite=overwrite)
    return RatingSpace(folder, len(pairs) - checks, checks, settings["left_out"])


_APP = '''"""The rating page: the pairs and settings beside this file, behind the token of the secret RATING_TOKEN."""

from pathlib import Path

from gpt4_instruct.rating_space import serve_rating_space

serve_rating_space(Path(__file__).parent)
'''


def _say(line: str) -> None:
    print(line, flush=True)


def serve_rating_space(folder: str | Path, *, tell: Callable[[str], None] = _say) -> None:
    """Runs the rating page of a folder that `write_rating_space` wrote, until it is stopped.

    It is told by the environment, as Spaces are: ``RATING_TOKEN``, the password that every request needs;
    ``RATING_STORAGE``, where what is written lasts (by default ``/data``, if it is there); ``GRADIO_SERVER_NAME`` and
    ``GRADIO_SERVER_PORT``, by default all addresses of the machine and 7860.

    Args:
        folder: that of the Space.
        tell: gets what happens, line by line; never the token.

    Raises:
        UsageError: there is no token, or it is too short.
        OutputError: the folder cannot be read or written, or what should last cannot be written.
        MissingExtraError: gradio is not installed.
    """
    folder = Path(folder)
    token = os.environ.get("RATING_TOKEN", "").strip()
    if not token:
        raise UsageError("there is no token: add the secret RATING_TOKEN, 12 characters or more, to the Space")
    host, port = os.environ.get("GRADIO_SERVER_NAME", "0.0.0.0"), os.environ.get("GRADIO_SERVER_PORT", "7860")
    pairs, settings, language = _read(folder)
    check_serving(host, token, language)
    try:
        import gradio  # noqa: F401
        import uvicorn
    except ImportError:
        raise MissingExtraError("the rating page", "gradio", "human") from None
    name, storage = _votes_name(pairs, settings), Path(os.environ.get("RATING_STORAGE") or "/data")
    kept = storage / name / "votes.sqlite3" if storage.is_dir() else None
    place = folder / "votes" / name if kept is None else Path(tempfile.mkdtemp(prefix="ratings-"))
    if kept is not None and kept.is_file():
        shutil.copyfile(kept, place / "votes.sqlite3")
    study = Study.create(place, pairs, settings)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that what is to be done at the end is done
    with closing(study), _keeping(study.file, kept, tell):
        tell(f"{len(study.votes())} votes of {len(study.raters())} raters are there")
        if address := os.environ.get("SPACE_HOST"):
            tell(f"raters open https://{address}/?token=... with the secret RATING_TOKEN in place of the dots")
        config = uvicorn.Config(
            guarded(app_of(study, language), token),
            host=host,
            port=int(port),
            log_level="warning",
            timeout_graceful_shutdown=_END_S,
        )
        with suppress(KeyboardInterrupt):
            uvicorn.Server(config).run()
    if kept is not None:
        shutil.rmtree(place)


def _read(folder: Path) -> tuple[list[Pair], dict[str, Any], str]:
    """The pairs, the settings of the study, and the language of the page."""
    try:
        with (folder / "pairs.jsonl").open(encoding="utf-8") as lines:
            pairs = [Pair(**json.loads(line)) for line in lines]
        study = read_json(folder / "study.json")
        return pairs, dict(study["settings"]), str(study["language"])
    except (OSError, TypeError, ValueError, KeyError) as error:
        raise OutputError(
            f"{folder} is not the folder of a rating Space ({error!r}): gpt4-instruct space rating writes one"
        ) from error


# --- votes that last ------------------------------------------------------------------------------------------------


def _votes_name(pairs: Sequence[Pair], settings: dict[str, Any]) -> str:
    """The folder of the votes: of this study, and of no other one that the Space may hold later."""
    content = json.dumps([[each.key for each in pairs], settings], sort_keys=True)
    return f"ratings-{hashlib.sha256(content.encode()).hexdigest()[:12]}"


@contextmanager
def _keeping(file: Path, kept: Path | None, tell: Callable[[str], None]) -> Iterator[None]:
    """Copies a database to where it lasts: now, soon after each change, and at the end."""
    if kept is None:
        tell("WARNING: votes vanish when this Space restarts: mount a bucket at /data, see README.md")
        yield
        return
    copied = _copy(file, kept, b"")  # if this cannot be done, no vote is taken
    stopped = threading.Event()

    def keep() -> None:
        nonlocal copied
        while not stopped.wait(_KEEP_S):
            try:
                copied = _copy(file, kept, copied)
            except (OutputError, sqlite3.Error) as error:
                tell(f"WARNING: votes are not copied, and tried again in {_KEEP_S} s: {error}")

    keeper = threading.Thread(target=keep, name="votes", daemon=True)
    keeper.start()
    try:
        yield
    finally:
        stopped.set()
        keeper.join()
        _copy(file, kept, copied)


def _copy(file: Path, kept: Path, copied: bytes) -> bytes:
    """Writes the database as it is now to `kept`, if that is not what was copied last; gives what is there now."""
    with closing(sqlite3.connect(f"{file.absolute().as_uri()}?mode=ro", uri=True, timeout=60.0)) as db:
        content = db.serialize()
    if content != copied:
        with replacing(kept) as temporary:
            temporary.write_bytes(content)
    return content
