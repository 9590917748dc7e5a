"""The question sets: the public ones are the files that are meant, ours are in step in both languages."""

from __future__ import annotations

import shutil
from collections import Counter

import pytest

from gpt4_instruct.errors import SourceError
from gpt4_instruct.evaluation.questions import QUESTION_SETS, Question, read_questions
from gpt4_instruct.languages import chinese_share


def questions(name: str) -> list[Question]:
    shown, found = read_questions(name)
    assert shown == name
    return [each for each in found if isinstance(each, Question)]


def test_the_public_sets_are_verified_and_read(shared_data, tmp_path, monkeypatch):
    monkeypatch.setenv("GPT4_INSTRUCT_RELEASED_DIR", str(tmp_path))
    shutil.copy(shared_data / "vicuna_question_80.jsonl", tmp_path / "question.jsonl")
    shutil.copy(shared_data / "user_oriented_instructions_252.jsonl", tmp_path / "user_oriented_instructions.jsonl")
    vicuna, user = questions("vicuna80"), questions("user252")
    assert len(vicuna) == 80 and len({each.category for each in vicuna}) == 9
    assert [each.id for each in vicuna[:2]] == ["1", "2"] and not any(each.reference for each in vicuna)
    assert len(user) == 252 and all(each.category and each.reference for each in user)
    assert any(each.input for each in user)
    (tmp_path / "question.jsonl").write_text("{}\n")
    with pytest.raises(SourceError, match=r"question\.jsonl is not the released file: its git blob id is"):
        read_questions("vicuna80")


def test_the_packaged_sets_ask_the_same_in_two_languages():
    english, chinese = questions("small"), questions("small-zh")
    assert [(each.id, each.category) for each in english] == [(each.id, each.category) for each in chinese]
    assert set(Counter(each.category for each in english).values()) == {2}
    for one, other in zip(english, chinese, strict=True):
        assert chinese_share(one.instruction) == 0 and (chinese_share(other.instruction) or 0) > 0.5
        assert bool(one.reference) == bool(other.reference)


def test_a_set_is_read_by_its_name_alone():
    assert set(QUESTION_SETS) == {"vicuna80", "user252", "small", "small-zh"}
    assert len(read_questions("small", limit=3)[1]) == 3
