"""The rating page as a server: on this computer only, or for others behind a token that every request needs."""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import socket
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

from gpt4_instruct.errors import MissingExtraError, UnknownNameError, UsageError
from gpt4_instruct.evaluation.rating import Study
from gpt4_instruct.evaluation.rating_page import app_of
from gpt4_instruct.evaluation.rating_pairs import Pair, find_pairs
from gpt4_instruct.evaluation.rating_turns import name_of
from gpt4_instruct.evaluation.rating_words import WORDS

__all__ = ["check_serving", "guarded", "only_here", "plan", "rater_names", "serve"]

_COOKIE = "rating_token"
_COOKIE_S = 30 * 24 * 3600
_SHORTEST_TOKEN = 12


def serve(
    answers: str | Path,
    baseline: str | Path,
    out: str | Path,
    *,
    questions: Any = None,
    host: str = "127.0.0.1",
    port: int = 7860,
    token: str | None = None,
    raters: Sequence[str] | None = None,
    per_question: int | None = None,
    attention: int = 20,
    language: str = "en",
    seed: int = 0,
    tell: Callable[[str], None] = print,
) -> None:
    """Shows two models' answers to raters in the browser and saves their votes, until Ctrl-C.

    The same call goes on with the same study: what was voted is kept. Nobody is told which answer is whose. Raters are
    told apart by their names only: who types another's name goes on as that one.

    Args:
        answers: of the model that is rated; a file of any shape in `answer_files`, or one of `ranking.rank`.
        baseline: of the model that it is compared with; likewise.
        out: a folder for the votes; see the top of `rating`.
        questions: the questions, where neither file holds them (FastChat's do not); whatever `read_questions` reads.
        host: the address to listen on; any but this computer's own needs a token.
        port: 0 takes any that is free.
        token: a password of 12 characters or more that is in the links, and that every request needs.
        raters: names; only these may rate. By default anybody who types a name.
        per_question: raters of each question; by default 3, or all of them if fewer are named.
        attention: after so many questions comes an attention check; 0 for none.
        language: of the page's own words, ``"en"`` or ``"zh"``.
        seed: of sides, orders and checks.
        tell: gets the links and what was left out, line by line.

    Raises:
        UsageError: an argument cannot work, the port is taken, or the folder holds another study.
        SourceError: the answers cannot be read, or have no question in common.
        OutputError: the folder cannot be written.
        MissingExtraError: gradio is not installed.
    """
    check_serving(host, token, language)
    try:
        import gradio  # noqa: F401
        import uvicorn
    except ImportError:
        raise MissingExtraError("the rating page", "gradio", "human") from None
    pairs, settings = plan(
        answers,
        baseline,
        questions=questions,
        raters=raters,
        per_question=per_question,
        attention=attention,
        seed=seed,
    )
    study = Study.create(out, pairs, settings)
    try:
        listening = socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
    except OSError as error:
        study.close()
        raise UsageError(f"cannot listen on {host}:{port}: {error.strerror}. --port names another") from error
    with listening:
        questions = sum(each.expected is None for each in pairs)
        tell(f"{questions} questions, {len(pairs) - questions} attention checks, votes in {study.file}")
        for reason, count in settings["left_out"].items():
            tell(f"{count} {reason}")
        for link in _links(host, listening.getsockname()[1], token, settings["raters"]):
            tell(link)
        app = app_of(study, language)
        config = uvicorn.Config(guarded(app, token) if token else only_here(app, host), log_level="warning")
        try:
            uvicorn.Server(config).run(sockets=[listening])
        except KeyboardInterrupt:
            pass
        finally:
            study.close()


# --- who may come ---------------------------------------------------------------------------------------------------


def guarded(app: Any, token: str) -> Any:
    """An ASGI application behind a token: ``?token=`` once, which leaves a cookie, or ``Authorization: Bearer``."""
    from starlette.requests import HTTPConnection
    from starlette.responses import PlainTextResponse, RedirectResponse

    ticket = hashlib.sha256(f"{_COOKIE}\0{token}".encode()).hexdigest()
    # Cookies do not know ports: another study on this computer has another name for its own.
    cookie = f"{_COOKIE}_{hashlib.sha256(ticket.encode()).hexdigest()[:8]}"

    async def guard(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            await app(scope, receive, send)
            return
        request = HTTPConnection(scope)
        bearer = request.headers.get("authorization", "").removeprefix("Bearer ")
        if _same(request.cookies.get(cookie, ""), ticket) or _same(bearer, token):
            await app(scope, receive, send)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})
        elif _same(request.query_params.get("token", ""), token):
            # The token goes into a cookie and out of the address, which is seen and kept.
            rest = urlencode([(name, value) for name, value in request.query_params.multi_items() if name != "token"])
            answer = RedirectResponse(f"/?{rest}" if rest else "/", status_code=303)
            answer.set_cookie(cookie, ticket, max_age=_COOKIE_S, httponly=True, samesite="lax")
            await answer(scope, receive, send)
        else:
            refusal = PlainTextResponse("401: open the link that you were given, with its token\n", status_code=401)
            await refusal(scope, receive, send)

    return guard


def only_here(app: Any, host: str = "127.0.0.1") -> Any:
    """An ASGI application that answers to this computer's own names only.

    Without this, a page from elsewhere could have its own name lead to this computer, and vote in a rater's browser.
    """
    from starlette.middleware.trustedhost import TrustedHostMiddleware

    names = ["127.0.0.1", "localhost", "[::1]", f"[{host}]" if ":" in host else host]
    return TrustedHostMiddleware(app, allowed_hosts=names, www_redirect=False)


def _same(given: str, wanted: str) -> bool:
    return hmac.compare_digest(given.encode(), wanted.encode())


def plan(
    answers: str | Path,
    baseline: str | Path,
    *,
    questions: str | Path | None,
    raters: Sequence[str] | None,
    per_question: int | None,
    attention: int,
    seed: int,
) -> tuple[list[Pair], dict[str, Any]]:
    """What raters are to see, and the settings that the study keeps; arguments as `serve`.

    Raises:
        UsageError: an argument cannot work.
        SourceError: the answers cannot be read, or have no question in common.
    """
    names = rater_names(raters)
    most = 3 if names is None else min(3, len(names))
    per_question = most if per_question is None else per_question
    if per_question < 1 or (names is not None and per_question > len(names)):
        there = "" if names is None else f", and at most the {len(names)} raters"
        raise UsageError(f"per_question is {per_question}, but must be 1 or more{there}")
    pairs, left_out = find_pairs(answers, baseline, questions=questions, attention=attention, seed=seed)
    ours_name, baseline_name = _called(Path(answers), Path(baseline))
    settings = {
        "ours": ours_name,
        "baseline": baseline_name,
        "seed": seed,
        "per_question": per_question,
        "attention": attention,
        "raters": names,
        "left_out": left_out,
    }
    return pairs, settings


def check_serving(host: str, token: str | None, language: str) -> None:
    if language not in WORDS:
        raise UnknownNameError("language", language, list(WORDS))
    if token is not None and len(token) < _SHORTEST_TOKEN:
        raise UsageError(f"the token has {len(token)} characters: take {_SHORTEST_TOKEN} or more that nobody guesses")
    try:
        own = host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        own = False
    if not own and token is None:
        raise UsageError(f"{host} can be reached by others: give a --token, or listen on 127.0.0.1")


def _called(ours: Path, baseline: Path) -> tuple[str, str]:
    """The files' names, with those of their folders where they are the same.

    >>> _called(Path("a/answers.jsonl"), Path("b/answers.jsonl")), _called(Path("a.jsonl"), Path("b.jsonl"))
    (('a/answers.jsonl', 'b/answers.jsonl'), ('a.jsonl', 'b.jsonl'))
    """
    if ours.name != baseline.name:
        return ours.name, baseline.name
    return f"{ours.absolute().parent.name}/{ours.name}", f"{baseline.absolute().parent.name}/{baseline.name}"


def rater_names(raters: Sequence[str] | None) -> list[str] | None:
    if raters is None:
        return None
    names = [name_of(each) for each in raters]
    if not names or len(set(names)) < len(names):
        raise UsageError("raters need names, each another: --rater Ann --rater Bo")
    return names


def _links(host: str, port: int, token: str | None, names: Sequence[str] | None) -> list[str]:
    host = _reached_at(host)
    base = f"http://{f'[{host}]' if ':' in host else host}:{port}/"
    key = {"token": token} if token else {}
    queries = [{**key, "rater": name} for name in names] if names else [key]
    return [base + (f"?{urlencode(query, quote_via=quote)}" if query else "") for query in queries]


def _reached_at(host: str) -> str:
    """The host itself; where it means every address of this computer, the one by which others reach it, or its name."""
    try:
        if host and not ipaddress.ip_address(host).is_unspecified:
            return host
    except ValueError:  # a name
        return host
    family, elsewhere = (socket.AF_INET6, "2001:db8::1") if ":" in host else (socket.AF_INET, "192.0.2.1")
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as asking:
            asking.connect((elsewhere, 9))  # sends nothing: it only tells the address from which it would
            return str(asking.getsockname()[0])
    except OSError:  # there is no network
        return socket.gethostname()
