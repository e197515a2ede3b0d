"""The two files of seeding: what a kill leaves is mended, what is something else is not touched."""

from __future__ import annotations

import json

import pytest

from lanpo_memory.errors import InvalidInputError
from lanpo_rl.seeding import AnswerFile, TeacherAnswer, WrittenLesson, read_lessons, save_lessons
from lanpo_rl.seeding.lessons import check_lesson_file

ASK = [{"role": "user", "content": "2 + 3?"}]


def answer(question="q", text="5 ✓"):
    return TeacherAnswer(question, "t", "solve", "p", ASK, text)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "answers.jsonl"


# ---------------------------------------------------------------------- answers


def test_answers_come_back_as_they_were_written(path):
    with AnswerFile(path) as file:
        file.write([answer("a"), answer("b")])
        file.write([answer("c")])
        assert file.known.keys() == {"a", "b", "c"}
    with AnswerFile(path) as file:
        assert file.known == {name: answer(name) for name in "abc"}


def test_wherever_a_kill_cuts_the_last_line_only_that_line_is_lost(path):
    with AnswerFile(path) as file:
        file.write([answer("a")])
        first = path.stat().st_size
        file.write([answer("b")])
    whole = path.read_bytes()
    for end in range(first, len(whole) + 1):
        path.write_bytes(whole[:end])
        with AnswerFile(path) as file:
            assert file.known.keys() == {"a", "b"} if end >= len(whole) - 1 else {"a"}
            file.write([answer("c")])
        with AnswerFile(path) as file:
            assert "c" in file.known


@pytest.mark.parametrize(
    "text",
    [
        "somebody's notes\n",
        "somebody's notes",
        '{"a": 1}\n',
        '{"format": "lanpo-solution"}\n',
        '{"format": "lanpo-teacher-answer"}\n',
        '{"format": "lanpo-teacher-answer", "question": "q"',  # followed by a whole line
    ],
)
def test_a_file_of_something_else_is_refused_and_not_touched(path, text):
    if text.endswith('"q"'):
        text += "\n{}\n"
    path.write_text(text)
    with pytest.raises(InvalidInputError, match=r"line 1: .*not touched"):
        AnswerFile(path)
    assert path.read_text() == text


def test_two_commands_do_not_write_to_one_file(path):
    with AnswerFile(path), pytest.raises(InvalidInputError, match="another command is writing"):
        AnswerFile(path)
    AnswerFile(path).close()


def test_a_place_that_cannot_be_written_is_an_error_of_ours(tmp_path):
    with pytest.raises(InvalidInputError, match="cannot write"):
        AnswerFile(tmp_path / "no" / "answers.jsonl")
    with pytest.raises(InvalidInputError, match="no plain file"):
        AnswerFile(tmp_path)


def test_a_full_disk_is_an_error_of_ours(path):
    class Full:
        def write(self, raw):
            raise OSError(28, "No space left on device")

        def close(self):
            pass

    with AnswerFile(path) as file:
        file._file._file.close()
        file._file._file = Full()
        with pytest.raises(InvalidInputError, match="No space left"):
            file.write([answer()])
        assert file.known == {}


# ---------------------------------------------------------------------- lessons

LESSON = WrittenLesson("inter", ASK, "It is 5 ✓.", "p", "t")


def test_lessons_come_back_as_they_were_saved(path):
    save_lessons(path, [LESSON, LESSON])
    assert read_lessons(path) == [LESSON, LESSON]
    assert [each.name for each in path.parent.iterdir()] == [path.name]


def test_prompts_and_completions_of_others_are_read_too(path):
    path.write_text(
        json.dumps({"prompt": "2 + 3?", "completion": "5"})
        + "\n\n"
        + json.dumps({"prompt": ASK, "completion": [{"role": "assistant", "content": "5"}]})
        + "\n"
    )
    assert read_lessons(path) == [WrittenLesson("", ASK, "5")] * 2


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("{", "not JSON"),
        ("[1]", "not a JSON object"),
        ('{"completion": "5"}', "no prompt"),
        ('{"prompt": [], "completion": "5"}', "no prompt"),
        ('{"prompt": [{"role": "user"}], "completion": "5"}', "no prompt"),
        ('{"prompt": "2 + 3?"}', "no completion"),
        ('{"prompt": "2 + 3?", "completion": "  "}', "no completion"),
        ('{"prompt": "2 + 3?", "completion": [1]}', "no completion"),
    ],
)
def test_what_is_no_lesson_is_named_with_its_line(path, line, said):
    path.write_text(json.dumps({"prompt": "1 + 1?", "completion": "2"}) + f"\n{line}\n")
    with pytest.raises(InvalidInputError) as caught:
        read_lessons(path)
    assert "1 lines are no lessons" in str(caught.value)
    assert f"{path}, line 2: " in str(caught.value)
    assert said in str(caught.value)


def test_an_empty_file_and_none_at_all_are_named(path):
    with pytest.raises(InvalidInputError, match="cannot read"):
        read_lessons(path)
    path.touch()
    with pytest.raises(InvalidInputError, match="holds no lessons"):
        read_lessons(path)


def test_lessons_do_not_go_over_something_else(path):
    check_lesson_file(path)
    path.touch()
    check_lesson_file(path)
    save_lessons(path, [LESSON])
    check_lesson_file(path)
    path.write_text("my notes\n")
    with pytest.raises(InvalidInputError, match="move it"):
        check_lesson_file(path)


def test_lessons_that_cannot_be_saved_leave_the_old_ones(path, monkeypatch):
    save_lessons(path, [LESSON])

    def full(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("lanpo_rl.seeding.lessons.os.fsync", full)
    with pytest.raises(InvalidInputError, match="No space left"):
        save_lessons(path, [])
    assert read_lessons(path) == [LESSON]
