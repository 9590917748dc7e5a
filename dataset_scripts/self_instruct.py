"""Builds a new dataset whose instructions the teacher invents, too, round after round from a few written by hand.

    python dataset_scripts/self_instruct.py --teacher openai:gpt-4o --accept 1000
    python dataset_scripts/self_instruct.py --teacher openai:gpt-4o --accept 1000 --language both --push-to me/invented

A row:

    {"instruction": "Name the largest planet.", "input": "", "output": "Jupiter.",
     "metadata": {"id": ..., "kind": "question", "round": 3, "teacher": "openai:gpt-4o", ...}}
"""

from __future__ import annotations

from common import make, options

if __name__ == "__main__":
    parser = options(__doc__, source=None)
    parser.add_argument("--seeds", default="seeds", help="a file of tasks written by hand (default: the packaged 160)")
    parser.add_argument("--accept", type=int, required=True, help="how many rows there shall be")
    parser.add_argument("--language", default="en", choices=["en", "zh", "both"], help="both: rows come in pairs")
    parser.add_argument("--recipe", default="gpt4-instruct", help="or alpaca, self-instruct (default: %(default)s)")
    given = parser.parse_args()
    make(
        "self_instruct",
        given,
        source=given.seeds,
        teacher=given.teacher,
        accept=given.accept,
        language=given.language,
        recipe=given.recipe,
    )
