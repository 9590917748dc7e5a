"""gpt4-instruct: instruction-tuning data from a stronger model, in English and Chinese.

    import gpt4_instruct

    english = gpt4_instruct.load("english")                 # the paper's released rows, as a datasets.Dataset
    gpt4_instruct.audit(english, out="audited")             # what is wrong with them, row by row
    gpt4_instruct.build("english", limit=8, out="data")     # rows of your own: a folder for load_dataset and the Hub
    gpt4_instruct.train_sft("data", "model")                # a model that learnt them
    gpt4_instruct.answer("vicuna80", "model", "a.jsonl")    # what it says, to be ranked, judged, measured and rated

Names are imported when they are first used (PEP 562), so this import costs next to nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gpt4_instruct.errors import (
        BudgetError,
        Gpt4InstructError,
        HubError,
        IncompleteError,
        InterruptedRunError,
        LedgerError,
        MissingExtraError,
        OutputError,
        OutputExistsError,
        RequestRefusedError,
        RunStoppedError,
        SourceError,
        TeacherError,
        TermsError,
        TrainingError,
        TransientError,
        UnknownNameError,
        UsageError,
    )
    from gpt4_instruct.evaluation.answer_files import export_answers
    from gpt4_instruct.evaluation.answers import AnswersResult, answer
    from gpt4_instruct.evaluation.judge import judge
    from gpt4_instruct.evaluation.judge_groups import GroupsResult, judge_groups
    from gpt4_instruct.evaluation.judge_run import JudgeResult
    from gpt4_instruct.evaluation.ranking import RankResult, best_of, rank
    from gpt4_instruct.evaluation.rouge import rouge
    from gpt4_instruct.evaluation.tally import TallyResult, tally
    from gpt4_instruct.evaluation.translating import TranslateResult, translate
    from gpt4_instruct.publishing.hub import PushResult, push
    from gpt4_instruct.publishing.show import show
    from gpt4_instruct.quality.audit import Finding
    from gpt4_instruct.records import Answer, Instruction, Message, Reject, Request, Row, Sample, Sampling, Scored
    from gpt4_instruct.reporting import PaperResult, paper, report
    from gpt4_instruct.sources.base import Source
    from gpt4_instruct.splits.base import Split
    from gpt4_instruct.splits.build import BuildResult, build, load
    from gpt4_instruct.splits.chinese import Chinese
    from gpt4_instruct.splits.comparison import Comparison
    from gpt4_instruct.splits.english import English
    from gpt4_instruct.splits.estimate import Estimate, estimate
    from gpt4_instruct.splits.self_instruct import SelfInstruct
    from gpt4_instruct.splits.stages import Stage
    from gpt4_instruct.splits.unnatural import Unnatural
    from gpt4_instruct.teachers.base import BatchTeacher, Response, Teacher, completion
    from gpt4_instruct.teachers.replay import Replay
    from gpt4_instruct.training.finishing import Trained
    from gpt4_instruct.training.recipes import LoRA, RewardRecipe, SFTRecipe
    from gpt4_instruct.training.scoring import RewardModel
    from gpt4_instruct.training.tokens import encode
    from gpt4_instruct.tuning import train_reward, train_sft
    from gpt4_instruct.views import as_view
    from gpt4_instruct.workflows import AuditResult, StatsResult, audit, stats

__version__ = "0.1.0"

_FROM = {
    "errors": (
        "BudgetError",
        "Gpt4InstructError",
        "HubError",
        "IncompleteError",
        "InterruptedRunError",
        "LedgerError",
        "MissingExtraError",
        "OutputError",
        "OutputExistsError",
        "RequestRefusedError",
        "RunStoppedError",
        "SourceError",
        "TeacherError",
        "TermsError",
        "TrainingError",
        "TransientError",
        "UnknownNameError",
        "UsageError",
    ),
    "records": ("Answer", "Instruction", "Message", "Reject", "Request", "Row", "Sample", "Sampling", "Scored"),
    "sources.base": ("Source",),
    "evaluation.answer_files": ("export_answers",),
    "evaluation.answers": ("AnswersResult", "answer"),
    "evaluation.judge": ("judge",),
    "evaluation.judge_groups": ("GroupsResult", "judge_groups"),
    "evaluation.judge_run": ("JudgeResult",),
    "evaluation.ranking": ("RankResult", "best_of", "rank"),
    "evaluation.rouge": ("rouge",),
    "evaluation.tally": ("TallyResult", "tally"),
    "evaluation.translating": ("TranslateResult", "translate"),
    "publishing.hub": ("PushResult", "push"),
    "publishing.show": ("show",),
    "quality.audit": ("Finding",),
    "reporting": ("PaperResult", "paper", "report"),
    "splits.base": ("Split",),
    "splits.build": ("BuildResult", "build", "load"),
    "splits.chinese": ("Chinese",),
    "splits.comparison": ("Comparison",),
    "splits.english": ("English",),
    "splits.estimate": ("Estimate", "estimate"),
    "splits.self_instruct": ("SelfInstruct",),
    "splits.stages": ("Stage",),
    "splits.unnatural": ("Unnatural",),
    "teachers.base": ("BatchTeacher", "Response", "Teacher", "completion"),
    "teachers.replay": ("Replay",),
    "training.finishing": ("Trained",),
    "training.recipes": ("LoRA", "RewardRecipe", "SFTRecipe"),
    "training.scoring": ("RewardModel",),
    "training.tokens": ("encode",),
    "tuning": ("train_reward", "train_sft"),
    "views": ("as_view",),
    "workflows": ("AuditResult", "StatsResult", "audit", "stats"),
}
_MODULE = {name: module for module, names in _FROM.items() for name in names}

__all__ = [
    "Answer",
    "AnswersResult",
    "AuditResult",
    "BatchTeacher",
    "BudgetError",
    "BuildResult",
    "Chinese",
    "Comparison",
    "English",
    "Estimate",
    "Finding",
    "Gpt4InstructError",
    "GroupsResult",
    "HubError",
    "IncompleteError",
    "Instruction",
    "InterruptedRunError",
    "JudgeResult",
    "LedgerError",
    "LoRA",
    "Message",
    "MissingExtraError",
    "OutputError",
    "OutputExistsError",
    "PaperResult",
    "PushResult",
    "RankResult",
    "Reject",
    "Replay",
    "Request",
    "RequestRefusedError",
    "Response",
    "RewardModel",
    "RewardRecipe",
    "Row",
    "RunStoppedError",
    "SFTRecipe",
    "Sample",
    "Sampling",
    "Scored",
    "SelfInstruct",
    "Source",
    "SourceError",
    "Split",
    "Stage",
    "StatsResult",
    "TallyResult",
    "Teacher",
    "TeacherError",
    "TermsError",
    "Trained",
    "TrainingError",
    "TransientError",
    "TranslateResult",
    "UnknownNameError",
    "Unnatural",
    "UsageError",
    "__version__",
    "answer",
    "as_view",
    "audit",
    "best_of",
    "build",
    "completion",
    "encode",
    "estimate",
    "export_answers",
    "judge",
    "judge_groups",
    "load",
    "paper",
    "push",
    "rank",
    "report",
    "rouge",
    "show",
    "stats",
    "tally",
    "train_reward",
    "train_sft",
    "translate",
]


def __getattr__(name: str) -> Any:
    if name not in _MODULE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_MODULE[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
