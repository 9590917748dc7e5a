"""What answers are worth, as numbers with their uncertainty: one metric a file, found through the registry.

Each is a plain function; `load` gives it as a metric of the evaluate library.
"""

from gpt4_instruct.metrics.base import load

__all__ = ["load"]
