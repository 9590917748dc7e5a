"""How long to wait before the next attempt."""

from __future__ import annotations

import random

__all__ = ["LONGEST_DELAY_S", "PATIENT_ATTEMPTS", "delay_s"]

FIRST_DELAY_S = 0.5
LONGEST_DELAY_S = 60.0
PATIENT_ATTEMPTS = 20  # about a quarter of an hour: what outages of an endpoint last


def delay_s(attempt: int, retry_after_s: float | None) -> float:
    """Seconds before the next attempt: what the endpoint asks for, else exponential with jitter.

    Source: Brooker, "Exponential Backoff And Jitter", AWS Architecture Blog, 2015.

    Args:
        attempt: how many there were, from 1.
        retry_after_s: what the endpoint asks for, if it does; a minute at most.
    """
    if retry_after_s is not None:
        return min(retry_after_s, LONGEST_DELAY_S) + random.uniform(0, 0.1)
    return random.uniform(0.5, 1.0) * min(LONGEST_DELAY_S, FIRST_DELAY_S * 2.0 ** (attempt - 1))
