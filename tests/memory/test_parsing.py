import json
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lanpo_memory.errors import InvalidInputError
from lanpo_memory.parsing import MAX_ANSWER_CHARS, boxed_answer, parse_summary, sections
from lanpo_memory.types import Experience, FailedAnswer, Failure, Problem

PROBLEM = Problem(text="How many birds?")
GOOD = {
    "flow_of_thought": ["1. I look", "2. I count"],
    "principles": ["count"],
    "pitfalls": ["skip"],
}


def parse(answer):
    return parse_summary(PROBLEM, answer)


def under_header(text):
    return f"An analysis.\n### Experience\n{text}\n"


@pytest.mark.parametrize(
    "answer",
    [
        under_header(json.dumps(GOOD)),
        under_header(f"```json\n{json.dumps(GOOD, indent=2)}\n```"),
        f"No header here.\n```\n{json.dumps(GOOD)}\n```",
        f"It is {{x | x > 0}} and $\\frac{{1}}{{2}}$: {json.dumps(GOOD)} Done.",
        "## **Experience**:\n" + json.dumps(GOOD),
        under_header(json.dumps({"experience": GOOD})),
        under_header(json.dumps(GOOD)).replace("\n", "\r\n"),
        under_header(str(GOOD)),
        under_header(
            '{"flow_of_thought": "I look\\n2. I count", "principles": "count", '
            '"pitfalls": ["skip",],}'
        ),
        under_header(
            "{'thoughts': ('I look', 'I count'), 'takeaways': ['count',], 'pitfalls': 'skip'}"
        ),
        under_header(
            '{"Flow of Thought": ["I look", "I count"], "Takeaways": '
            '{"Principles": ["- count"], "Pitfalls": ["* skip"]}}'
        ),
        'An example first: {"principles": ["old"]}\n' + json.dumps(GOOD),
        f"### Experience\n{json.dumps({'principles': ['old']})}\n{under_header(json.dumps(GOOD))}",
    ],
)
def test_many_ways_of_writing_the_same_summary(answer):
    found = parse(answer)
    assert isinstance(found, Experience), found
    assert found.thoughts == "1. I look\n2. I count"
    assert found.principles == ("count",)
    assert found.pitfalls == ("skip",)
    assert found.problem == PROBLEM


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ("", "empty"),
        (" \n\0", "empty"),
        ("I am sorry.", "no JSON object"),
        (r"So \boxed{5} and {1, 2}.", "no JSON object"),
        (under_header('{"principles": ["count'), "not closed"),
        ('{"principles": ["count"', "not closed"),
        (under_header('{"principles": count}'), "cannot be read"),
        (under_header('{"lessons": ["count"]}'), "none of"),
        (under_header('{"principles": [], "pitfalls": null, "thoughts": ""}'), "all empty"),
        (under_header('{"principles": ["...", "-"]}'), "all empty"),
        (under_header('{"a": ' * 500 + "1" + "}" * 500), "none of"),
        (under_header('{"principles": ' + "[" * 3000 + "]" * 3000 + "}"), "cannot be read"),
        ("x" * (MAX_ANSWER_CHARS + 1), "at most"),
    ],
)
def test_what_cannot_be_read_is_a_failure_with_its_reason(answer, reason):
    found = parse(answer)
    assert isinstance(found, Failure)
    assert reason in found.reason
    FailedAnswer(role="summarise", problem_id="p", text=found.text, reason=found.reason)


def test_a_bad_object_under_the_header_does_not_hide_a_good_one_before_it():
    found = parse(json.dumps(GOOD) + "\n### Experience\n{'cut")
    assert isinstance(found, Experience)


def test_the_evaluation_header_is_not_the_experience_header():
    found = parse('### Experience Evaluation:\n{"principles": ["a"]}\n{"principles": ["b"]}')
    assert isinstance(found, Experience)
    assert found.principles == ("b",)


def test_repeated_lessons_stand_once_and_numbers_become_text():
    found = parse('{"principles": ["a", "a", 7, {"lesson": "b", "why": "c"}, [["d"]], true, null]}')
    assert isinstance(found, Experience)
    assert found.principles == ("a", "7", "b: c", "d")


@pytest.mark.parametrize(
    ("written", "read"),
    [
        (r"use \frac{a}{b}", r"use \frac{a}{b}"),
        (r"use \\frac{a}{b}", r"use \frac{a}{b}"),
        (r"use \beta, \times, \nu and \right)", r"use \beta, \times, \nu and \right)"),
        (r"use \( x \)", r"use \( x \)"),
        (r"a \"word\" and it\'s \u00e9", 'a "word" and it\'s é'),
        (r"a\/b", "a/b"),
        (r"set \{1\} and \underline{x}", r"set \{1\} and \underline{x}"),
        ("one tab\\there", "one tab\there"),
    ],
)
def test_latex_in_json_survives(written, read):
    found = parse(under_header('{"principles": ["' + written + '"]}'))
    assert isinstance(found, Experience), found
    assert found.principles == (read,)


def test_an_escaped_line_break_is_a_line_break():
    found = parse(under_header('{"thoughts": "I look\\nThen I count"}'))
    assert isinstance(found, Experience)
    assert found.thoughts == "1. I look\n2. Then I count"


def test_nul_and_lone_surrogates_are_removed():
    found = parse('{"principles": ["co\\u0000unt\\ud800", "\ud800more\0"]}')
    assert isinstance(found, Experience)
    assert found.principles == ("count", "more")


WHOLE = under_header(json.dumps({**GOOD, "principles": [r"use \frac{1}{2}", 'a "b"', "é'"]}))
PIECES = [
    "{",
    "}",
    "[",
    "]",
    '"',
    "'",
    "\\",
    ",",
    ":",
    "\n",
    "### Experience",
    "null",
    "\0",
    "9" * 30,
]
MUTATION = st.tuples(
    st.integers(0, len(WHOLE)),
    st.integers(0, 12),
    st.one_of(st.sampled_from(PIECES), st.text(max_size=5)),
)


def mutated(mutations):
    text = WHOLE
    for place, length, piece in mutations:
        text = text[:place] + piece + text[place + length :]
    return text


@given(st.lists(MUTATION, max_size=8))
@settings(max_examples=600, deadline=None)
def test_mutated_answers_never_raise(mutations):
    found = parse(mutated(mutations))
    assert isinstance(found, (Experience, Failure))
    if isinstance(found, Failure):
        assert found.reason
        FailedAnswer(role="summarise", problem_id="p", text=found.text, reason=found.reason)


@given(st.text())
@settings(max_examples=300, deadline=None)
def test_any_text_can_be_read(text):
    assert isinstance(parse(text), (Experience, Failure))
    assert isinstance(parse('{"' + text + "}"), (Experience, Failure))
    assert isinstance(boxed_answer(text + r"\boxed{" + text), (str, type(None)))
    assert isinstance(sections(f"{text}\n### a:{text}", ["### A:", f"#{text}"]), list)


@given(st.recursive(st.none() | st.booleans() | st.floats() | st.text(), st.lists, max_leaves=5))
@settings(max_examples=200, deadline=None)
def test_any_value_can_stand_under_a_key(value):
    found = parse(json.dumps({"principles": value, "pitfalls": ["known"]}))
    assert isinstance(found, Experience)
    assert "known" in found.pitfalls


@pytest.mark.parametrize(
    "hostile",
    [
        '{"' * 49_000,
        '{"' + '\\"' * 49_000 + "}",
        '{"a":' * 19_000 + "}" * 5_000,
        r"\boxed{" * 14_000,
        "{'" + "}" * 99_000,
        "<" * 99_000,
        '{"a": "' + "," * 99_000 + "}",
        '{"' + " " * 99_000 + "}",
    ],
)
def test_hostile_answers_are_read_in_little_time(hostile):
    start = time.perf_counter()
    parse(hostile)
    boxed_answer(hostile)
    assert time.perf_counter() - start < 10


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        (r"\boxed{5}", "5"),
        (r"\boxed{1} then \boxed{2}", "2"),
        (r"\boxed{\frac{1}{2}}", r"\frac{1}{2}"),
        (r"\boxed{\left\{1, 2\right\}}", r"\left\{1, 2\right\}"),
        (r"\boxed {x}", "x"),
        (r"\boxed{1} and \boxed{2", "1"),
        (r"\boxed{\boxed{7}}", "7"),
        (r"} \boxed{3} {", "3"),
        (r"\boxed{5}, in \boxed{} as asked", "5"),
        (r"\boxed{}", None),
        ("5", None),
        ("", None),
    ],
)
def test_the_last_closed_box_is_the_answer(text, answer):
    assert boxed_answer(text) == answer


def test_sections_keep_their_order_and_lose_the_preamble():
    text = "pre\n### B:\none\n  ### a: two\nthree\n### B\n\nfour"
    assert sections(text, ["### A:", "### B:"]) == [
        ("### B:", "one"),
        ("### A:", "two\nthree"),
        ("### B:", "four"),
    ]


def test_sections_with_windows_line_endings():
    text = "### A\r\none\r\n### B:\r\ntwo\r\n"
    assert sections(text, ["### A:", "### B:"]) == [("### A:", "one"), ("### B:", "two")]


def test_a_header_counts_only_at_the_start_of_a_line_and_whole():
    assert sections("see ### A: x\n### Also: y\n### A x", ["### A:"]) == []
    assert sections("anything", []) == []
    with pytest.raises(InvalidInputError, match="empty"):
        sections("anything", [" : "])
