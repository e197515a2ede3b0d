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
        (under_header('{"colours": ["count"]}'), "none of"),
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
    "answer",
    [
        "{'thoughts': ['I look', 'I count'], 'principles': ['count'], 'pitfalls': ['skip'],}",
        '{flow_of_thought: ["I look", "I count"], principles: ["count"], pitfalls: ["skip"]}',
        ('{ // I\n"thoughts": ["I look", # first\n"I count"], /* so */ "principles": "count", '
        '"pitfalls": ["skip"]}'),
        '{“thoughts”: [“I look”, “I count”], “principles”: [“count”], “pitfalls”: [“skip”]}',
        '{"thoughts"：["I look"，"I count"]，"principles"：["count"]，"pitfalls"：["skip"]}',
        '{"thoughts": ["I look" "I count"] "principles": ["count"] "pitfalls": ["skip"]}',
        '{"thoughts": ["I look", "I count"], "principles": ["count", "pitfalls": ["skip"]}',
        '"thoughts": ["I look", "I count"], "principles": ["count"], "pitfalls": ["skip"]}',
        json.dumps(json.dumps(GOOD)),
        json.dumps({"name": "save", "arguments": json.dumps(GOOD)}),
        json.dumps([GOOD]),
        json.dumps({"experiences": [GOOD]}),
        json.dumps({"takeaways": [{k: GOOD[k]} for k in GOOD]}),
        "\n".join(json.dumps({k: GOOD[k]}) for k in GOOD),
        'A number {"a": [1, 2, {"b": 3}], and then\n' + json.dumps(GOOD),
        "<think>" + json.dumps({"principles": ["draft"]}) + "</think>" + json.dumps(GOOD),
        "I think it is 5.\n</think>\n\n" + json.dumps(GOOD),
        "Sure. <think>Hm.</think>\n" + json.dumps(GOOD),
        json.dumps(GOOD) + "\n<think>\nWas that right? {\"principles\": [\"no\"]}",
        "<reasoning>\nHm.\n</reasoning>\n<thinking>Hm.</thinking>\n" + json.dumps(GOOD),
        "[THINK]Hm.[/THINK]" + json.dumps(GOOD),
        "<|channel|>analysis<|message|>Hm.<|end|><|start|>assistant<|channel|>final<|message|>"
        + json.dumps(GOOD) + "<|return|>",
        "<think>" + "so " * MAX_ANSWER_CHARS + "</think>" + json.dumps(GOOD),
        "### Thoughts\n1. I look\n2. I count\n\n### Principles\n- count\n### Pitfalls\n- skip",
        ("### Experience\n**Thoughts:**\n\n1. I look\n2. I count\n\n**Principles**\n* count\n"
        "\n**Pitfalls** (what to avoid)\n* skip\n\nI hope this helps!"),
        "## 1. Thoughts\nI look\nI count\n---\n## 2. Principles:\n> count\n\n## 3. Traps\n+ skip",
        "Flow of thought:\n  - I look\n  - I count\nprinciples:\n  - count\npitfalls:\n  - skip",
        "1. **Thoughts:**\n   - I look\n   - I count\n2. **Lesson:** count\n3. **Pitfall:** skip",
        ("<thoughts>\nI look\nI count\n</thoughts><principles>count</principles>\n"
        "So much for the good.\n<pitfalls>skip</pitfalls>"),
        "```markdown\n**思路：**\n1、I look\n2、I count\n**原则**：count\n**易错点**\n- skip\n```",
        ("Thoughts\n① I look\n② I count\nHere are the most important lessons:\n• **count**\n\n"
        "And the mistakes to avoid:\n• skip"),
    ],
)  # fmt: skip
def test_what_real_models_make_of_the_form(answer):
    found = parse(answer)
    assert isinstance(found, Experience), found
    assert found.thoughts == "1. I look\n2. I count"
    assert found.principles == ("count",)
    assert found.pitfalls == ("skip",)


@pytest.mark.parametrize(
    ("header", "thoughts", "principles", "pitfalls"),
    [
        ("经验", "思路", "原则", "常见错误"),
        ("經驗", "思維流程", "關鍵原則", "注意事項"),
        ("Erfahrung", "Gedankengang", "Wichtige Grundsätze", "Häufige Fehler"),
        ("Expérience", "Fil de pensée", "Leçons apprises", "Erreurs à éviter"),
        ("Experiencia", "Flujo de pensamiento", "Lecciones aprendidas", "Errores comunes"),
        ("Experiência", "Fluxo de pensamento", "Princípios", "Armadilhas"),
        ("Esperienza", "Flusso di pensiero", "Principi", "Errori comuni"),
        ("Опыт", "Ход мыслей", "Ключевые выводы", "Подводные камни"),
        ("経験", "思考の流れ", "重要な教訓", "落とし穴"),
        ("경험", "사고 흐름", "원칙", "함정"),
        ("EXPERIENCE", "flow_of_thoughts", "keyTakeaways", "common-mistakes"),
    ],
)
def test_headers_and_keys_of_other_languages(header, thoughts, principles, pitfalls):
    fields = {thoughts: ["I look"], principles: ["count"], pitfalls: ["skip"]}
    lists = "".join(f"**{name}:**\n- {items[0]}\n\n" for name, items in fields.items())
    draft = json.dumps({"principles": ["draft"]})
    for said in (json.dumps(fields), json.dumps(fields, ensure_ascii=False), lists):
        found = parse(f"{draft}\n### {header}\n{said}")
        assert isinstance(found, Experience), found
        assert found.thoughts == "1. I look"
        assert (found.principles, found.pitfalls) == (("count",), ("skip",))


@pytest.mark.parametrize(
    ("answer", "principles"),
    [
        ('["count", "check"]', ("count", "check")),
        ("Experience:\n```json\n" + '["count", "check"]\n```', None),
        ('### Experience\n```json\n["count", "check"]\n```', ("count", "check")),
        ('["count", "check", "and th', ("count", "check")),
        ('The vowels are ["a", "e"] here.', None),
        ("[1, 2]", None),
        ('{"lessons": "- count\\n- check"}', ("count", "check")),
        ('{"key_insights": {"1": "count", "b": "check"}}', ("count", "b: check")),
        (
            "{'tips': ['Don't count twice', 'Check x, then y']}",
            ("Don't count twice", "Check x, then y"),
        ),
        ("### Lessons\n- count\n### Solution\n- add", ("count",)),
        ('Sure: ["a"]\n**Lessons**\n- count', ("count",)),
        ('{"advice": ["First, tips: count", "check",]}', ("First, tips: count", "check")),
        ('{"advice": {"Before": "count.", "After": ["check"]}}', ("Before: count.", "check")),
        ('[{"title": "Count", "content": "one by one"}]', ("Count: one by one",)),
        ('{"title": "Count.", "description": "Always.", "content": "x"}', ("Count. Always. x",)),
        ('{"principle_1": "count", "principle_2": "check"}', ("count", "check")),
        ('{"tips": [{"tip": "count", "why": "safe"}]}', ("count: safe",)),
        ("### Experience\n- count\n- check\n", ("count", "check")),
        ("- count\n- check\n", None),
        ("**Insight:** count", ("count",)),
        ("### Lessons\n- Tip: count\n- **Mind**: check\n", ("Tip: count", "Mind: check")),
        ("### Lessons\n- count\n  one by one\n- check", ("count one by one", "check")),
        ("### Lessons / Takeaways\ncount", ("count",)),
        ('{"role": "assistant", "content": "I am sorry."}', None),
        ('{"error": {"message": "rate limit", "code": 429}}', None),
        ('{"reasoning": "2 + 3 = 5", "answer": 5}', None),
    ],
)
def test_plain_takeaways_become_principles(answer, principles):
    found = parse(answer)
    assert (found.principles if isinstance(found, Experience) else None) == principles, found


@pytest.mark.parametrize(
    ("answer", "thoughts", "principles", "pitfalls"),
    [
        ('{"thoughts": ["a", "b"], "principles": ["c", "d"], "pitfalls": ["e, f', "ab", "cd", ""),
        ('{"thoughts": ["a", "b"], "principles": ["c", "d"', "ab", "c", ""),
        ('{"thoughts": ["a", "b"], "princ', "ab", "", ""),
        ('{"thoughts": "a", "principles": "c, and', "a", "", ""),
        ("{'thoughts': ['a', 'it's b, and'], 'principles': ['c', 'don", None, "c", ""),
        ('{"x": {"thoughts": ["a"], "takeaways": {"principles": ["c"], "pit', "a", "c", ""),
        ('{"thoughts": ["a"], "principles": [{"title": "c"}, {"title": "d", "y": "e', "a", "c", ""),
        ('{"thoughts": "a", "takeaways": {"principles": ["c"], "pitfalls": ["e"]}', "a", "c", "e"),
        ('{"principles": ["old"]} so {"principles": ["c"', "", "old", ""),
        ('### Experience\n{"thoughts": ["a"], "principles": [["c"], ["d', "a", "c", ""),
        ('{"thoughts": ["a"], "principles": ["c", "d\\', "a", "c", ""),
    ],
)  # fmt: skip
def test_of_an_object_that_breaks_off_what_is_complete_is_read(
    answer, thoughts, principles, pitfalls
):
    found = parse(answer)
    assert isinstance(found, Experience), found
    if thoughts is not None:
        assert [line[3:] for line in found.thoughts.splitlines()] == list(thoughts)
    assert "".join(found.principles) == principles
    assert "".join(found.pitfalls) == pitfalls


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ('<think>\nIs it 5? {"principles": ["draft"]}', "all thinking, and was cut"),
        ("<|channel|>analysis<|message|>Is it 5?", "all thinking, and was cut"),
        ("<think>\nIt is 5.\n</think>\n", "nothing follows the thinking"),
        ("I begin.\n<think>\nIs it 5?", "no JSON object in the answer; the thinking was cut"),
        ("The lesson is to count, and errors are small. Principles matter.", "no JSON object"),
        ("Step 1: count the birds.\nStep 2: add them.\nAnswer: 5", "no JSON object"),
        ("1. Count the birds.\n2. Add them.\n- It is 5.", "no JSON object"),
        ("### Principles and pitfalls\n- count", "no JSON object"),
        ("### Analysis\n- count\n### Solution\n5", "no JSON object"),
        ("We made some mistakes:\nThe first was small.", "no JSON object"),
        ("**Principles:** N/A\n**Pitfalls:**\n- None\n- ...", "no JSON object"),
        ('{"principles": find(problem), "pitfalls": []}', "cannot be read"),
        ("{'principles': found['principles'], 'pitfalls': pitfalls}", "none of"),
        ('{"principles": ["N/A", "none.", "<a principle>", "Principle 1", "1."]}', "all empty"),
        (
            '{"principles": ["无", "Keine", "Aucun", "なし", "нет"], "pitfalls": "null"}',
            "all empty",
        ),
        ("Principles: count\n" + '{"principles": ["..."]}', "all empty"),
        ("Principles: count\n{principles: ['...']}", "all empty"),
        ("### Lessons\n" + "\n".join(f"- {i}" for i in range(12_000)), "no JSON object"),
    ],
)
def test_what_says_nothing_or_is_no_summary_is_a_failure(answer, reason):
    found = parse(answer)
    assert isinstance(found, Failure), found
    assert reason in found.reason
    assert found.text == answer


def test_an_object_written_as_a_string_keeps_its_text():
    said = {"principles": ['say "x", then y', r"use \frac{1}{2}"]}
    found = parse(json.dumps(json.dumps(said)))
    assert isinstance(found, Experience), found
    assert list(found.principles) == said["principles"]


def test_what_was_thought_is_no_part_of_the_answer():
    drafts = ["<think>\n{}\n</think>\n", "{}\n</think>\n", "So. <think>{}</think>\n"]
    for draft in drafts:
        found = parse(draft.format('{"pitfalls": ["draft"]}') + '{"principles": ["count"]}')
        assert isinstance(found, Experience), found
        assert (found.principles, found.pitfalls) == (("count",), ())


@pytest.mark.parametrize(
    "error", [AssertionError, IndexError, KeyError, RecursionError, TypeError, ValueError]
)
def test_whatever_the_repair_says_is_a_failure(monkeypatch, error):
    def repair_json(*_, **__):
        raise error("surprise")

    monkeypatch.setattr("json_repair.repair_json", repair_json)
    found = parse('{"principles": ["count",]}')
    assert isinstance(found, Failure)
    assert "cannot be read" in found.reason


def test_what_is_left_of_the_form_is_no_lesson():
    answer = json.dumps({"principles": ["### Principles", "count", 'colours": ["red', "Lessons:"]})
    found = parse(answer)
    assert isinstance(found, Experience), found
    assert found.principles == ("count",)


def test_a_tag_that_is_talked_about_hides_nothing():
    answer = '{"principles": ["Write <think> first", "then </think> and the answer"]}'
    found = parse(answer)
    assert isinstance(found, Experience), found
    assert found.principles == ("Write <think> first", "then </think> and the answer")


def test_labels_end_with_their_section_and_may_come_twice():
    answer = (
        "### Lessons\n- count\n\nMore prose.\n- a step\n\n"
        "### Solution\n- 2 + 3\n### Lessons\n- check\n- count\n***\n- the end"
    )
    found = parse(answer)
    assert isinstance(found, Experience), found
    assert found.principles == ("count", "check")


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
        '{"principles": ["' + '"a":' * 19_000 + "}",
        '{"principles": ["' + '"a":' * 240 + '"]}, ' * 90,
        ('{"a": "' + ":" * 900 + ', "b": c}\n') * 90,
        ('{"a": ["' + 'a"\n\n' * 480 + '"]}\n') * 45,
        "{'a': [" + "'b " * 32_000,
        "[{'a':" * 16_000 + "}]" * 2_000,
        "**a" * 33_000,
        "### Principles\n" + "- **a" * 19_000,
        "### Experience\n" * 6_000,
        "<think>\n" * 12_000 + "</think>" * 100,
        '"principles": ["' * 6_000,
        "{/*" * 33_000,
        "{ // a\n" * 14_000,
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
