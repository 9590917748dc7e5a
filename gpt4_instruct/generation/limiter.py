"""Keeps a run within an endpoint's limits, and close to them.

There is one `Lane` for each model at each endpoint. A request goes out when all three let it:

- a bucket of requests and a bucket of tokens, refilled continuously. They are set by flags, or learnt from the
  ``x-ratelimit-*`` headers of every response. The buckets stand in the ledger, so that all processes that use it
  share them. A request takes the most tokens it can need; what its answer leaves over flows back.
- a number of requests in flight, up to the concurrency, found by additive increase and multiplicative decrease
  (Chiu and Jain, "Analysis of the Increase and Decrease Algorithms for Congestion Avoidance in Computer Networks",
  1989): it is what there is to go by where an endpoint says nothing but 429.
- the moment until which the endpoint asked to be left alone (``Retry-After``).
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from gpt4_instruct.generation.delays import LONGEST_DELAY_S
from gpt4_instruct.records import RateLimits

__all__ = ["Bucket", "Lane", "Permit"]

# Seconds' worth of requests that may go out at once where only flags tell the limit: an endpoint may count in seconds,
# or in a window that slides.
_BURST_S = 0.5
# Share of a limit given by flags that is used: with the burst, it stays under the limit in any minute, and the rest is
# room for requests that travel faster than the ones before them.
_SHARE = 0.985
_FIRST_IN_FLIGHT = 8  # until the first answer tells of limits
_DECREASE = 0.7
_MEAN_WEIGHT = 0.02  # of one answer in what is known of the latest ones: about fifty count
_MANY_OVERLOADS = 0.15  # share of the latest answers
_BREATH_S = 1.0  # until a sliding window has moved on, where limits are known and a 429 does not say when to come again
_SHORTEST_WAIT_S = 0.002
_LONGEST_WAIT_S = 0.5  # another process may have given tokens back
_FORGOTTEN_S = 120.0  # limits that nobody used for so long were another run's: they are learnt again
# What tells whether the endpoint gives unused tokens back: so much of a minute's, over so long a time that what is on
# its way does not matter.
_EVIDENCE = 0.05
_EVIDENCE_S = 5.0


@dataclass
class Bucket:
    """Permits that flow in at a steady rate, up to a capacity. It may go below zero, and then has to recover.

    Attributes:
        rate: permits a second.
        capacity: most that gather.
        level: permits there are, at the moment `stamp` (seconds since the epoch).
        own: the user set it; what an endpoint says is left may lower it, but not fill it.
        held: permits of requests in flight, of all processes.
    """

    rate: float
    capacity: float
    level: float
    stamp: float
    own: bool = False
    held: float = 0.0

    def refill(self, now: float) -> None:
        """Lets flow in what is due by `now`."""
        elapsed = max(0.0, now - self.stamp)  # another process's clock, or one that was set back
        self.level = min(self.capacity, self.level + elapsed * self.rate)
        self.stamp = now

    def wait_s(self, amount: float) -> float:
        """Seconds until `amount` may be taken; more than the bucket holds may be taken when it is full.

        >>> Bucket(rate=2.0, capacity=10.0, level=4.0, stamp=0.0).wait_s(5.0)
        0.5
        """
        missing = min(amount, self.capacity) - self.level
        return missing / self.rate if missing > 1e-9 else 0.0


_BUCKETS = ("requests", "tokens", "pace")


@dataclass
class _Quota:
    """What the processes that share a ledger share: plain numbers, kept there as JSON."""

    requests: Bucket | None = None
    tokens: Bucket | None = None
    pace: Bucket | None = None  # of tokens that answers are expected to use, where the user set the limit
    blocked_until: float = 0.0

    def to_plain(self) -> dict[str, Any]:
        buckets = {name: getattr(self, name) for name in _BUCKETS}
        return {"blocked_until": self.blocked_until, **{name: vars(each) for name, each in buckets.items() if each}}

    @classmethod
    def from_plain(cls, plain: dict[str, Any], now: float) -> _Quota:
        found = {name: Bucket(**plain[name]) for name in _BUCKETS if name in plain}
        fresh = {name: bucket for name, bucket in found.items() if now - bucket.stamp < _FORGOTTEN_S}
        blocked = min(plain.get("blocked_until", 0.0), now + LONGEST_DELAY_S)  # the clock may have been set back
        return cls(blocked_until=blocked, **fresh)


@dataclass
class Permit:
    """The leave to send one request.

    Attributes:
        tokens: set aside for it.
        sent_at: when it was given, in seconds of the event loop's clock.
        expected: tokens that it will use, by those that came before.
    """

    tokens: int
    sent_at: float = 0.0
    expected: float = 0.0


@dataclass
class _Refunds:
    """Finds out whether an endpoint gives the unused part of ``max_tokens`` back, by what it says is left.

    OpenAI's does not: it counts a request's ``max_tokens`` when it arrives. Many others count what was used.
    """

    given: bool | None = None  # not known yet
    taken: float = 0.0
    used: float = 0.0
    since: tuple[float, float, float, float] | None = None  # left, moment, taken, used

    def observe(self, left: float, bucket: Bucket, now: float) -> None:
        if self.since is None or left >= 0.98 * bucket.capacity:  # a full bucket hides what flows in
            self.since = (left, now, self.taken, self.used)
            return
        before, moment, taken, used = self.since
        if now - moment < _EVIDENCE_S or self.taken - taken - (self.used - used) < _EVIDENCE * bucket.capacity:
            return
        inflow = bucket.rate * (now - moment)
        without = before + inflow - (self.taken - taken)
        with_refunds = before + inflow - (self.used - used)
        self.given = abs(left - with_refunds) < abs(left - without)
        self.since = (left, now, self.taken, self.used)


@dataclass
class Lane:
    """The way to one model at one endpoint, for one run. Used from one event loop.

    Args:
        most: requests in flight at most.
        load: reads what the processes share, so that nobody else changes it before `save`; none if nothing is there.
        save: writes it.
        requests_per_minute: the user's own limit, none to learn it.
        tokens_per_minute: likewise.
        alone: no other run uses the store now: limits that a user once named are those of a run that is over.
        remote: it may have limits of its own, so that the first answer is waited for before all set out.
    """

    most: int
    load: Callable[[], dict[str, Any] | None]
    save: Callable[[dict[str, Any]], None]
    requests_per_minute: float | None = None
    tokens_per_minute: float | None = None
    remote: bool = True
    alone: bool = True
    slots: asyncio.Semaphore = field(init=False)  # for requests that are being asked, between attempts, too
    in_flight: int = 0
    held_tokens: int = 0
    _window: float = 0.0
    _answered: bool = False
    _shared: bool = False  # there is something to share: limits, or a moment to wait for
    _last_decrease: float = 0.0
    _refunds: _Refunds = field(default_factory=_Refunds)
    _waiting: deque[tuple[Permit, asyncio.Future[None]]] = field(default_factory=deque)
    _timer: asyncio.TimerHandle | None = None
    _mean: float | None = None
    _overloads: float = 0.0  # share of the latest answers
    _per_minute: tuple[float | None, ...] = (None, None)  # limits that are known, of requests and tokens
    _recent: deque[list[float]] = field(default_factory=deque)  # second, requests, tokens: of the last minute
    _began: float = 0.0

    def __post_init__(self) -> None:
        self.slots = asyncio.Semaphore(self.most)
        self._window = float(min(self.most, _FIRST_IN_FLIGHT))
        self._shared = bool(self.requests_per_minute or self.tokens_per_minute)
        if plain := self.load():  # what an earlier run learnt, or another one is learning
            quota = _Quota.from_plain(plain, time.time())
            if self.alone:
                quota.pace = None
                for name in ("requests", "tokens"):
                    bucket: Bucket | None = getattr(quota, name)
                    if bucket is not None and bucket.own:
                        setattr(quota, name, None)
                self.save(quota.to_plain())
            self._shared = self._shared or bool(quota.requests or quota.tokens or quota.blocked_until > time.time())
        if self._shared or not self.remote:
            self._answered = True
            self._window = float(self.most)

    # --- a request --------------------------------------------------------------------------------------------------

    async def admit(self, tokens: int) -> Permit:
        """Waits for the leave to send a request of at most so many tokens, prompt and answer. First come, first served.

        Whoever gets it calls `done` afterwards.
        """
        loop = asyncio.get_running_loop()
        permit = Permit(tokens)
        if self._shared or self._waiting or self.in_flight >= int(self._window):
            future: asyncio.Future[None] = loop.create_future()
            self._waiting.append((permit, future))
            self._schedule(0.0)
            try:
                await future
            except asyncio.CancelledError:
                if future.done() and not future.cancelled():
                    self.done(permit)
                raise
        else:
            self._take(permit, loop.time())
        return permit

    def _take(self, permit: Permit, now: float) -> None:
        permit.sent_at = now
        permit.expected = self._expected(permit)
        self.in_flight += 1
        self.held_tokens += permit.tokens
        self._refunds.taken += permit.tokens

    def _expected(self, permit: Permit) -> float:
        """Tokens that a request will use: the mean of the latest ones, and all that it may before there are any."""
        return float(permit.tokens) if self._mean is None else min(permit.tokens, self._mean)

    def done(
        self,
        permit: Permit,
        *,
        sent: bool = True,
        used_tokens: int | None = None,
        limits: RateLimits | None = None,
        overloaded: bool = False,
        retry_after_s: float | None = None,
    ) -> None:
        """Ends a request.

        Args:
            permit: what `admit` gave.
            sent: the request was sent; else nothing is learnt from it.
            used_tokens: prompt and completion tokens; none where there was no answer, and all flow back.
            limits: what the response's headers say.
            overloaded: the endpoint answered that it is too much.
            retry_after_s: seconds for which it asked to be left alone.
        """
        self.in_flight -= 1
        self.held_tokens -= permit.tokens
        self._refunds.used += used_tokens or 0
        if used_tokens:
            self._count(used_tokens)
            self._mean = used_tokens if self._mean is None else self._mean + (used_tokens - self._mean) * _MEAN_WEIGHT
        if not sent:
            if self._shared:
                self._settle(permit, None, None, None)
            if self._waiting:
                self._schedule(0.0)
            return
        self._overloads += (overloaded - self._overloads) * _MEAN_WEIGHT
        if overloaded:
            # Where limits are known, one refusal now and then is chance; what was sent before the last decrease says
            # nothing new.
            limited = self._per_minute != (None, None)
            if permit.sent_at > self._last_decrease and not (limited and self._overloads < _MANY_OVERLOADS):
                self._window = max(1.0, self._window * _DECREASE)
                self._last_decrease = asyncio.get_running_loop().time()
        elif not self._answered:
            self._answered = True
            self._window = float(self.most)
        else:
            self._window = min(float(self.most), self._window + 1.0 / self._window)
        wait_s = retry_after_s if overloaded else None
        if overloaded and wait_s is None and self._per_minute != (None, None):
            wait_s = _BREATH_S
        if self._shared or limits or wait_s:
            self._settle(permit, used_tokens, limits, wait_s)
        if self._waiting:
            self._schedule(0.0)

    def _count(self, tokens: int) -> None:
        second = float(int(time.monotonic()))
        if not self._recent or self._recent[-1][0] != second:
            self._began = self._began or second
            self._recent.append([second, 0.0, 0.0])
            while self._recent[0][0] < second - 60.0:
                self._recent.popleft()
        self._recent[-1][1] += 1
        self._recent[-1][2] += tokens

    def _settle(self, permit: Permit, used_tokens: int | None, limits: RateLimits | None, wait_s: float | None) -> None:
        """Takes into the shared quota what an answer, or its headers, say."""
        now = time.time()
        quota = self._open(now)
        for bucket, held in ((quota.requests, 1), (quota.tokens, permit.tokens)):
            if bucket is not None:
                bucket.held = max(0.0, bucket.held - held)
        if limits is not None:
            self._learn(quota, limits, now)
        if quota.tokens and (self._refunds.given or (self._refunds.given is None and quota.tokens.own)):
            quota.tokens.level = min(quota.tokens.capacity, quota.tokens.level + permit.tokens - (used_tokens or 0))
        if quota.pace:
            quota.pace.level += permit.expected - (used_tokens or 0)
        if limits is not None:
            self._follow(quota, limits, now)
        if wait_s:
            quota.blocked_until = max(quota.blocked_until, now + min(wait_s, LONGEST_DELAY_S))
        self._close(quota)

    def _learn(self, quota: _Quota, limits: RateLimits, now: float) -> None:
        """Makes or changes the buckets by the limits that the endpoint names; the user's own are never raised."""
        named = (
            ("requests", limits.requests, limits.requests_left, limits.requests_period_s, self.requests_per_minute),
            ("tokens", limits.tokens, limits.tokens_left, 60.0, self.tokens_per_minute),
        )
        for name, limit, left, period_s, own in named:
            if not limit or (own and own / 60.0 <= limit / period_s):
                continue
            bucket: Bucket | None = getattr(quota, name)
            if bucket is None:
                level = float(limit if left is None else left)
                held = self.in_flight if name == "requests" else self.held_tokens
                setattr(quota, name, Bucket(limit / period_s, float(limit), level - held, now, held=held))
            elif bucket.rate != limit / period_s:  # a new limit, from this response on
                bucket.rate, bucket.capacity, bucket.own = limit / period_s, float(limit), False
                bucket.level = min(bucket.level, bucket.capacity)

    def _follow(self, quota: _Quota, limits: RateLimits, now: float) -> None:
        """Brings the buckets to what the endpoint says is left: others may use the same quota, or nobody does any more.

        What is in flight may be counted there already, or not yet: a bucket is lowered as if it were, and raised as if
        it were not.
        """
        for bucket, left in ((quota.requests, limits.requests_left), (quota.tokens, limits.tokens_left)):
            if bucket is not None and left is not None:
                raised = bucket.level if bucket.own else left - bucket.held
                bucket.level = min(bucket.capacity, max(min(bucket.level, left), raised))
        if quota.tokens and limits.tokens_left is not None:
            self._refunds.observe(limits.tokens_left, quota.tokens, now)

    # --- what is shared ---------------------------------------------------------------------------------------------

    def _open(self, now: float) -> _Quota:
        quota = _Quota.from_plain(self.load() or {}, now)
        self._shared = True
        limits = (self.requests_per_minute, self.tokens_per_minute, self.tokens_per_minute)
        for name, limit in zip(_BUCKETS, limits, strict=True):
            bucket: Bucket | None = getattr(quota, name)
            if limit and (bucket is None or bucket.rate > limit / 60.0):
                setattr(quota, name, _own_bucket(name, limit, now))
            elif bucket is not None:
                bucket.refill(now)
        return quota

    def _close(self, quota: _Quota) -> None:
        buckets = (quota.requests, quota.pace or quota.tokens)
        self._per_minute = tuple(bucket.rate * 60.0 if bucket else None for bucket in buckets)
        self.save(quota.to_plain())

    def quota_used(self) -> float | None:
        """Share of the tighter limit that this run has used in the last minute; none where no limit is known."""
        recent = list(self._recent)  # it may be asked from another thread
        if not recent:
            return None
        minutes = min(60.0, max(1.0, time.monotonic() - self._began)) / 60.0
        sums = (sum(each[1] for each in recent), sum(each[2] for each in recent))
        shares = [used / minutes / limit for used, limit in zip(sums, self._per_minute, strict=True) if limit]
        return max(shares) if shares else None

    # --- those who wait ---------------------------------------------------------------------------------------------

    def _schedule(self, delay_s: float) -> None:
        loop = asyncio.get_running_loop()
        when = loop.time() + delay_s
        if self._timer is not None:
            if self._timer.when() <= when:
                return
            self._timer.cancel()
        self._timer = loop.call_at(when, self._pump)

    def _pump(self) -> None:
        """Lets go as many of those who wait as may."""
        self._timer = None
        while self._waiting and self._waiting[0][1].done():  # cancelled
            self._waiting.popleft()
        if not self._waiting or self.in_flight >= int(self._window):
            return
        now = asyncio.get_running_loop().time()
        try:
            quota = self._open(time.time()) if self._shared else None
            wait_s = 0.0
            while self._waiting and self.in_flight < int(self._window):
                permit, future = self._waiting[0]
                if future.done():
                    self._waiting.popleft()
                    continue
                if quota is not None:
                    wait_s = _wait_s(quota, permit.tokens, self._expected(permit))
                    if wait_s > 0:
                        break
                    _take(quota, permit.tokens, self._expected(permit))
                self._waiting.popleft()
                self._take(permit, now)
                future.set_result(None)
            if quota is not None:
                self._close(quota)
        except Exception as error:  # the ledger cannot be used: whoever waits is told
            self.stop(error)
            return
        if wait_s > 0:
            self._schedule(min(max(wait_s, _SHORTEST_WAIT_S), _LONGEST_WAIT_S))

    def stop(self, error: Exception) -> None:
        """Sends those who wait away with an exception."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        while self._waiting:
            _, future = self._waiting.popleft()
            if not future.done():
                future.set_exception(error)


def _own_bucket(name: str, per_minute: float, now: float) -> Bucket:
    """A bucket for a limit that the user names, at an endpoint that may count in any way.

    Requests are spaced out, and so are the tokens that answers are expected to use: a full bucket and what flows in
    would be two minutes' worth in the first minute. Those set aside come out of a full minute's, as at OpenAI's.
    """
    rate = per_minute / 60.0 * _SHARE
    capacity = per_minute if name == "tokens" else max(1.0, rate * _BURST_S)
    return Bucket(rate, capacity, capacity, now, own=True)


def _wait_s(quota: _Quota, tokens: int, expected: float) -> float:
    wait_s = max(0.0, quota.blocked_until - time.time())
    if quota.requests:
        wait_s = max(wait_s, quota.requests.wait_s(1))
    if quota.tokens:
        wait_s = max(wait_s, quota.tokens.wait_s(tokens))
    if quota.pace:
        wait_s = max(wait_s, quota.pace.wait_s(expected))
    return wait_s


def _take(quota: _Quota, tokens: int, expected: float) -> None:
    if quota.requests:
        quota.requests.level -= 1
        quota.requests.held += 1
    if quota.tokens:
        quota.tokens.level -= tokens
        quota.tokens.held += tokens
    if quota.pace:
        quota.pace.level -= expected
