"""Builds the English split: instructions and a model's answers to them.

    python dataset_scripts/english.py --push-to me/alpaca-gpt4                      # the paper's 52,002 rows
    python dataset_scripts/english.py --teacher openai:gpt-4o --limit 1000          # new answers to Alpaca's questions

A row:

    {"instruction": "Name the largest planet.", "input": "", "output": "Jupiter.",
     "metadata": {"id": "alpaca_data-17", "teacher": "openai:gpt-4o", ...}}
"""

from __future__ import annotations

from common import make, options

QUESTIONS = "released:alpaca"  # Stanford Alpaca's, which the paper asked GPT-4 (section 2)

if __name__ == "__main__":
    given = options(__doc__, source=QUESTIONS).parse_args()
    source = given.source or (QUESTIONS if given.teacher else "released")
    make("english", given, source=source, teacher=given.teacher, limit=given.limit)
