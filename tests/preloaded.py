"""What commands import on their way, for a fork server: importing it is most of a short command's time."""

from __future__ import annotations

import gc
import multiprocessing.synchronize  # noqa: F401
from contextlib import suppress

import charset_normalizer  # noqa: F401
import datasets  # noqa: F401
import jinja2.ext  # noqa: F401
import openai.resources.chat.completions  # noqa: F401
import pytest  # noqa: F401
import scipy.io  # noqa: F401
import tqdm.notebook  # noqa: F401
import typer.rich_utils  # noqa: F401

import gpt4_instruct.cli.app
import gpt4_instruct.evaluation.answers
import gpt4_instruct.evaluation.judge
import gpt4_instruct.quality.echo
import gpt4_instruct.quality.empty
import gpt4_instruct.quality.refusal
import gpt4_instruct.quality.truncated
import gpt4_instruct.quality.wrong_language
import gpt4_instruct.splits.build
import gpt4_instruct.splits.comparison
import gpt4_instruct.splits.english
import gpt4_instruct.teachers.openai
import gpt4_instruct.teachers.openai_batch
from gpt4_instruct.errors import MissingExtraError

with suppress(ImportError):  # extras
    import accelerate  # noqa: F401
    import safetensors.torch  # noqa: F401
    import transformers.models.llama.modeling_llama
    import transformers.trainer  # noqa: F401

    import gpt4_instruct.chat
    import gpt4_instruct.evaluation.ranking
    import gpt4_instruct.training.sft  # noqa: F401

with suppress(ImportError, MissingExtraError):
    import tests.self_instruct_run  # noqa: F401

gc.freeze()  # what is here now is no garbage: forked processes need neither look through it nor copy it
