"""Builds the Chinese split: instructions put into Chinese, and a model's answers in Chinese.

    python dataset_scripts/chinese.py --push-to me/alpaca-gpt4-zh                   # the paper's 48,818 rows
    python dataset_scripts/chinese.py --translator openai:gpt-4o-mini --teacher openai:gpt-4o --limit 1000

A row:

    {"instruction": "说出最大的行星。", "input": "", "output": "木星。",
     "metadata": {"id": "alpaca_data-17", "translator": "openai:gpt-4o-mini", "teacher": "openai:gpt-4o", ...}}
"""

from __future__ import annotations

from common import make, options

QUESTIONS = "released:alpaca"  # Stanford Alpaca's, which the paper had ChatGPT translate (section 2)

if __name__ == "__main__":
    parser = options(__doc__, source=QUESTIONS)
    parser.add_argument("--translator", metavar="SPEC", help="who translates (default: the teacher)")
    given = parser.parse_args()
    source = given.source or (QUESTIONS if given.teacher or given.translator else "released")
    make("chinese", given, source=source, teacher=given.teacher, translator=given.translator, limit=given.limit)
