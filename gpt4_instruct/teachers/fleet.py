"""Several servers that hold the same model: each request goes to the one that will most likely answer it soonest.

The rule is "shortest expected delay", simple and near the best there is for unequal servers (arXiv:1509.03535): a
server that answers `rate` tokens a second, all of its requests together, is done with one more after
``(in flight + 1) / rate`` times the length of an answer, which is the same for all.

The rate is learnt from every answer: its own tokens a second, times the requests that were in flight meanwhile. Servers
batch, so one that is asked little answers less without being slower; that is not held against it (see `Server.learn`).

A server that fails gets nothing for a while, and then one request, by whose fate it is judged: for longer and longer
while that fails. Nothing is asked again here. The error is raised as one of the moment, and the engine's next attempt
meets another server. Where all are gone, requests go out all the same, as they do to a single server, and what they
meet stops the run.
"""

from __future__ import annotations

import math
import re
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field, replace

from gpt4_instruct.errors import RequestRefusedError, RunStoppedError, TeacherError, TransientError
from gpt4_instruct.progress import tell
from gpt4_instruct.records import RateLimits
from gpt4_instruct.teachers.base import Response
from gpt4_instruct.teachers.openai_client import Client

__all__ = ["FLEET", "Fleet", "Server"]

# What stands for the servers in a request's identity: they may come, go and move, and the answers stay.
FLEET = "http://fleet"
_WEIGHT = 0.05  # of one answer in what is known of a server: about the last twenty count
_FIRST_PAUSE_S = 1.0
_LONGEST_PAUSE_S = 60.0
_TOLD_AFTER = 3  # failures in a row: one is chance
_COMPLETION_TOKENS = re.compile(r'"completion_tokens"\s*:\s*(\d+)')
_CHARACTERS_PER_TOKEN = 4  # where a server does not count


@dataclass(eq=False)
class Server:
    """One server, and what is known of it.

    Attributes:
        client: the way to it.
        in_flight: requests that it has not answered yet.
        rate: tokens a second that it answers, all its requests together; 0 while that is not known.
        load: requests in flight at which it did.
        failures: in a row, of which nothing has come in between.
        held_until: when it may be asked again, in seconds of the clock.
        refusal: why it can answer no request at all, by its last word.
        unreachable: no connection could be made, the last time.
        probed: a request is under way that shows whether it is well again.
        limits: what it last said about its limits.
    """

    client: Client
    in_flight: int = 0
    rate: float = 0.0
    load: float = 0.0
    failures: int = 0
    held_until: float = 0.0
    refusal: RunStoppedError | None = None
    unreachable: bool = False
    probed: bool = False
    limits: RateLimits | None = None
    _answers: int = 0
    _speed: float = 0.0  # tokens a second of one answer
    _company: float = 0.0  # requests in flight while it was given
    _served: float = 0.0  # seconds times requests in flight, up to _stamp
    _stamp: float = 0.0
    _held_at: float = -math.inf
    _told: bool = False

    def served(self, now: float) -> float:
        """Seconds times requests in flight, so far."""
        self._served += self.in_flight * (now - self._stamp)
        self._stamp = now
        return self._served

    def is_ready(self, now: float) -> bool:
        """Whether it may be asked: it is well, or due for a request that shows whether it is again."""
        return not self.failures or (now >= self.held_until and not self.probed)

    def learn(self, tokens: int, seconds: float, company: float) -> None:
        """Takes an answer into the rate.

        A server's throughput grows with its load, at most in proportion, up to what it can do. So where it answers less
        at less load than before, its rate falls only as far as that does not explain it.

        Args:
            tokens: of the answer.
            seconds: it took.
            company: mean number of requests in flight meanwhile, this one among them.
        """
        self._answers += 1
        weight = max(_WEIGHT, 1.0 / self._answers)
        self._speed += (tokens / seconds - self._speed) * weight
        self._company += (company - self._company) * weight
        now = self._speed * self._company
        if now >= self.rate:
            self.rate, self.load = now, self._company
        else:
            self.rate = min(self.rate, now * max(1.0, self.load / self._company))

    def hold(self, error: TransientError | RunStoppedError, sent_at: float, now: float) -> None:
        """Leaves it alone for a while; what was sent before the last failure says nothing new."""
        if sent_at < self._held_at:
            return
        self.failures += 1
        self._held_at = now
        self.refusal = error if isinstance(error, RunStoppedError) else None
        self.unreachable = isinstance(error, TransientError) and error.unreachable
        pause_s = min(_LONGEST_PAUSE_S, _FIRST_PAUSE_S * 2.0 ** (self.failures - 1))
        if self.refusal is not None:
            pause_s = _LONGEST_PAUSE_S  # it takes somebody to mend that
        elif isinstance(error, TransientError) and error.retry_after_s is not None:
            pause_s = min(_LONGEST_PAUSE_S, max(error.retry_after_s, pause_s))
        self.held_until = now + pause_s
        if not self._told and (self.refusal is not None or self.failures >= _TOLD_AFTER):
            self._told = True
            tell(f"{error}; it is left alone for now, and tried again")

    def release(self, sent_at: float) -> None:
        """Takes it as well again, after an answer to what was sent since it failed."""
        if sent_at < self._held_at or not self.failures:
            return
        self.failures, self.refusal, self.unreachable = 0, None, False
        if self._told:
            self._told = False
            tell(f"{self.client.endpoint} answers again")


@dataclass
class Fleet:
    """The servers of one model. Used from one event loop at a time.

    Args:
        clients: the way to each.
        clock: seconds, from any moment on.
    """

    clients: Sequence[Client]
    clock: Callable[[], float] = time.monotonic
    servers: list[Server] = field(init=False)

    def __post_init__(self) -> None:
        self.servers = [Server(client) for client in self.clients]

    async def ask(self, ask: Callable[[Client], Awaitable[Response]]) -> Response:
        """Asks one of the servers.

        Args:
            ask: sends the request by a client, and raises what `Teacher.ask` says.

        Raises:
            RequestRefusedError: the server refuses this request.
            TransientError: it did not answer; another one may.
            RunStoppedError: every server refuses every request.
        """
        sent_at = self.clock()
        server = self.choose()
        before = server.served(sent_at)
        server.in_flight += 1
        probe = server.failures > 0 and not server.probed
        server.probed = server.probed or probe
        try:
            response = await ask(server.client)
        except RequestRefusedError:
            server.release(sent_at)
            raise
        except (TransientError, RunStoppedError) as error:
            server.hold(error, sent_at, self.clock())
            raise self._for_the_run(error) from None
        else:
            now = self.clock()
            if '"choices"' not in response.text:  # a page of a gateway, which is fast: it would get every request
                server.hold(TransientError(f"{server.client.endpoint} sends no chat completions"), sent_at, now)
                return replace(response, limits=None)
            server.release(sent_at)
            seconds = max(now - sent_at, 1e-6)
            server.learn(_tokens(response.text), seconds, (server.served(now) - before) / seconds)
            server.limits = response.limits or server.limits
            return replace(response, limits=self._limits())
        finally:
            server.served(self.clock())
            server.in_flight -= 1
            if probe:
                server.probed = False

    def choose(self) -> Server:
        """The server for the next request: of those that are well, the one with the shortest expected delay."""
        now = self.clock()
        ready = [each for each in self.servers if each.is_ready(now)]
        if not ready:  # all are gone: the one that is due first
            return min(self.servers, key=lambda each: each.held_until)
        known = [each.rate for each in ready if each.rate]
        usual = sum(known) / len(known) if known else 1.0
        return min(ready, key=lambda each: (each.in_flight + 1) / (each.rate or usual))

    def _for_the_run(self, error: TransientError | RunStoppedError) -> TeacherError:
        """What a server's failure is for the run: a reason to ask again at once, as long as another one can be asked.

        The limits that came with it are the server's own, and say nothing about the fleet.
        """
        now = self.clock()
        others = any(each.is_ready(now) for each in self.servers)
        if not others and all(each.refusal is not None for each in self.servers):
            return error
        overloaded = isinstance(error, TransientError) and error.overloaded
        retry_after_s = None
        if others:
            retry_after_s = 0.0
        elif overloaded:
            retry_after_s = max(0.0, min(each.held_until for each in self.servers) - now)
        return TransientError(
            str(error),
            retry_after_s=retry_after_s,
            unreachable=all(each.unreachable for each in self.servers),
            billable=isinstance(error, TransientError) and error.billable,
            overloaded=overloaded,
        )

    def _limits(self) -> RateLimits | None:
        """What the servers that are well allow together; none where one of them has not said what it does."""
        told = [each.limits for each in self.servers if not each.failures]
        known = [each for each in told if each is not None]
        if not known or len(known) < len(told):
            return None

        def total(name: str) -> int | None:
            numbers = [getattr(each, name) for each in known]
            return None if None in numbers else sum(numbers)

        periods = {each.requests_period_s for each in known}
        if len(periods) > 1:  # a day's and a minute's do not add up
            return RateLimits(tokens=total("tokens"), tokens_left=total("tokens_left"))
        return RateLimits(
            total("requests"), total("requests_left"), periods.pop(), total("tokens"), total("tokens_left")
        )


def _tokens(text: str) -> int:
    found = _COMPLETION_TOKENS.search(text)
    return max(1, int(found[1]) if found else len(text) // _CHARACTERS_PER_TOKEN)
