"""Draws the tokens of a batch: each row by its own temperature, nucleus, grammar and generator."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from gpt4_instruct.records import Request, Sampling

__all__ = ["Draw", "nucleus", "parameters"]


def parameters(request: Request) -> dict[str, Any]:
    """A request's sampling fields, with `Sampling`'s defaults for those it leaves open.

    >>> parameters(Request("local", "m", (), {"max_tokens": 8}))
    {'temperature': 1.0, 'top_p': 1.0, 'max_tokens': 8}
    """
    return {**Sampling().parameters(), **request.parameters}


class Draw:
    """Draws each row's next token, as a logits processor: what it returns has its maximum at the token drawn.

    Adding Gumbel noise to the logits and taking the maximum is drawing from their softmax (Gumbel 1954; Maddison,
    Tarlow & Minka 2014, arXiv:1411.0030), so `generate` can stay greedy while every row has a generator of its own.
    """

    def __init__(self, batch: Sequence[tuple[Request, Any]], device: str) -> None:
        """Sets up a row for each request.

        Args:
            batch: each request with its llguidance matcher, or with none.
            device: ``"cuda"``, ``"mps"`` or ``"cpu"``.
        """
        import torch

        self.begun = False
        self.rows: list[tuple[float, float, Any, Any]] = []
        for request, matcher in batch:
            given = parameters(request)
            # 60 bits of the key; a seed the user gave is part of the key.
            generator = torch.Generator("cuda" if device == "cuda" else "cpu")
            generator.manual_seed(int(request.key[:15], 16))
            # A copy: after a batch that did not fit, the request starts over.
            own = matcher.deep_copy() if matcher is not None else None
            self.rows.append((float(given["temperature"]), float(given["top_p"]), generator, own))

    def __call__(self, input_ids: Any, scores: Any) -> Any:
        """Logits [B, V] float32 to logits [B, V] whose maxima are the tokens drawn."""
        import torch

        for row, (temperature, top_p, generator, matcher) in enumerate(self.rows):
            logits = scores[row]
            if matcher is not None:
                if self.begun and not matcher.is_stopped():
                    matcher.consume_token(int(input_ids[row, -1]))
                logits = logits.masked_fill(~_allowed(matcher, logits), -torch.inf)
            if temperature > 0:
                logits = logits / temperature
                if top_p < 1:
                    logits = nucleus(logits, top_p)
                # In float64: float32 has too few numbers near 1 for the largest of 50,000 draws. (MPS has no float64.)
                uniform = torch.rand(len(logits), generator=generator, dtype=torch.float64, device=generator.device)
                logits = logits - uniform.log_().neg_().log_().to(logits)
            scores[row] = logits
        self.begun = True
        return scores


def nucleus(logits: Any, top_p: float) -> Any:
    """Logits [V] without the tokens outside the smallest set that holds `top_p` (Holtzman et al., arXiv:1904.09751)."""
    import torch

    share = logits.softmax(-1)
    # All tokens rarer than this hold less than 1 - top_p together, so none is in the set; few are left to sort.
    likely = (share >= (1 - top_p) / len(share)).nonzero().squeeze(-1)
    ordered, order = share[likely].sort(descending=True)
    kept = likely[order[ordered.cumsum(-1) - ordered < top_p]]
    return torch.full_like(logits, -torch.inf).index_copy_(0, kept, logits[kept])


def _allowed(matcher: Any, logits: Any) -> Any:
    """Which tokens [V] bool a grammar allows next; only those that end the answer once it is complete."""
    import numpy as np
    import torch

    bits = np.unpackbits(np.frombuffer(matcher.compute_bitmask(), dtype=np.uint8), bitorder="little")
    return torch.from_numpy(bits[: logits.shape[-1]].astype(bool)).to(logits.device)
