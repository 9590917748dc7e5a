"""Builds the Unnatural split: instructions that bring a reference answer, and a model's answers to them.

    python dataset_scripts/unnatural.py --push-to me/unnatural-gpt4                 # the paper's 9,000 rows
    python dataset_scripts/unnatural.py --teacher openai:gpt-4o --limit 1000        # new answers to the core data

A row:

    {"instruction": "Is the number prime?", "input": "7", "output": "Yes, 7 is prime.", "label": "Yes",
     "metadata": {"id": "core_data-12", "teacher": "openai:gpt-4o", ...}}
"""

from __future__ import annotations

from common import make, options

QUESTIONS = "released:unnatural-core"  # the 68,478 tasks of Unnatural Instructions, of which the paper asked some

if __name__ == "__main__":
    given = options(__doc__, source=QUESTIONS).parse_args()
    source = given.source or (QUESTIONS if given.teacher else "released")
    make("unnatural", given, source=source, teacher=given.teacher, limit=given.limit)
