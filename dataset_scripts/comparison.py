"""Builds the comparison split: answers of several models to each instruction, each scored from 1 to 10.

    python dataset_scripts/comparison.py --push-to me/comparison-gpt4               # the rows that were released
    python dataset_scripts/comparison.py --limit 1000 \\
        --answers-from openai:gpt-4o --answers-from local:facebook/opt-iml-1.3b --scorer openai:gpt-4o

A row:

    {"user_input": "Below is an instruction ... ### Response:",
     "responses_and_scores": [{"response": "Jupiter.", "source": "gpt-4o", "score": 9.0},
                              {"response": "Saturn.", "source": "facebook/opt-iml-1.3b", "score": 1.0}],
     "metadata": {...}}
"""

from __future__ import annotations

from common import make, options

QUESTIONS = "released"  # the questions of the released comparison

if __name__ == "__main__":
    parser = options(__doc__, source=QUESTIONS)
    parser.add_argument("--answers-from", metavar="SPEC", action="append", default=[], help="a model; twice or more")
    parser.add_argument("--scorer", metavar="SPEC", help="who gives the scores (default: the teacher)")
    given = parser.parse_args()
    make(
        "comparison",
        given,
        source=given.source or QUESTIONS,
        teacher=given.teacher,
        answers_from=given.answers_from,
        scorer=given.scorer,
        limit=given.limit,
    )
