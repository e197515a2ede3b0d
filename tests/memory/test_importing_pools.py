"""Pools of other memories: each item becomes an experience, or a receipt that says why not."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lanpo_memory.errors import InvalidInputError
from lanpo_memory.importers import POOL_FORMATS, read_experiences

RATES = "Find the rate for one unit first."
WHEN = "When something is proportional to time"

REME = {
    "workspace_id": "w", "memory_id": "4ff6", "memory_type": "task", "when_to_use": WHEN,
    "content": RATES, "score": 0.92, "time_created": "2025-08-31 15:42:44",
    "time_modified": "2025-08-31 15:42:44", "author": "qwen",
    "metadata": {"tags": ["rates", "time"], "confidence": 0.9, "when_to_use": WHEN, "score": 1},
}  # fmt: skip
NODE = {
    "unique_id": "4ff6", "workspace_id": "w", "content": WHEN, "vector": [0.1, 0.2],
    "metadata": {"memory_type": "task", "content": RATES, "score": 0.92,
                 "time_created": "2025-08-31 15:42:44", "metadata": {"tags": ["rates"]}},
}  # fmt: skip
MEM0 = {
    "id": "f1", "memory": RATES, "user_id": "ann", "hash": "ab12", "metadata": {"topic": "maths"},
    "created_at": "2024-07-26T10:29:36.630547-07:00", "updated_at": None, "categories": ["a", "b"],
}  # fmt: skip
PLAYBOOK = """\
# My playbook
Words about it.

## STRATEGIES & INSIGHTS
[sai-00001] helpful=5 harmful=1 :: Find the rate for one unit first.
- [sai-00002] helpful=0 harmful=0 :: Write it down:
  rate = way / time

## COMMON MISTAKES TO AVOID
[err-00003] helpful=6 harmful=0 :: Adding the hours to the distance.
"""
ITEM = {"title": "Rates", "description": "When to find a rate.", "content": RATES}
MARKDOWN = """\
# Memory Item 1
## Title Rates
## Description When to find a rate.
## Content Find the rate for one unit first.

# Memory Item 2
## Title
Signs
## Content
Mind the sign
of every term.
"""


@pytest.fixture
def read(tmp_path):
    def read_text(text, layout):
        path = tmp_path / "pool.txt"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return list(read_experiences(path, layout))

    return read_text


def in_lines(*rows):
    return "\n".join(row if isinstance(row, str) else json.dumps(row) for row in rows)


def says(entries):
    return [(*e.experience.principles, *e.experience.pitfalls) for e in entries if e.experience]


# ---------------------------------------------------------------------- one test a format


def test_a_reme_memory_keeps_its_condition_its_scalars_and_its_time(read):
    (entry,) = read(in_lines(REME), "reme")
    experience = entry.experience
    assert experience.problem.text == WHEN
    assert (experience.principles, experience.pitfalls) == ((RATES,), ())
    assert experience.metadata.source == "reme"
    assert experience.metadata.created_at == 1756654964.0  # as UTC
    assert experience.metadata.reward is None
    assert experience.metadata.extra == {
        "workspace_id": "w", "memory_id": "4ff6", "memory_type": "task", "score": 0.92,
        "time_created": "2025-08-31 15:42:44", "time_modified": "2025-08-31 15:42:44",
        "author": "qwen", "tags": '["rates", "time"]', "confidence": 0.9, "when_to_use": WHEN,
        "metadata.score": 1,
    }  # fmt: skip
    assert (entry.line, entry.dropped, entry.left_out, entry.status) == (1, (), (), None)


def test_a_node_of_remes_vector_store_is_the_same_memory(read):
    (memory,), (node,) = read(in_lines(REME), "reme"), read(in_lines(NODE), "reme")
    assert node.experience.id == memory.experience.id
    assert node.experience.metadata.created_at == memory.experience.metadata.created_at
    assert node.experience.metadata.extra["tags"] == '["rates"]'
    assert node.experience.metadata.extra["unique_id"] == "4ff6"
    assert node.left_out == ("vector",)


@pytest.mark.parametrize("indent", [None, 2])
def test_a_list_counts_the_lines_on_which_its_items_begin(read, indent):
    entries = read(json.dumps([REME, {**REME, "content": "other"}], indent=indent), "reme")
    assert says(entries) == [(RATES,), ("other",)]
    length = json.dumps(REME, indent=2).count("\n") + 1
    assert [e.line for e in entries] == ([1, 1] if indent is None else [2, 2 + length])


@pytest.mark.parametrize(
    "shape",
    [
        in_lines(MEM0),
        in_lines(MEM0, {**MEM0, "memory": "other"}),
        json.dumps([MEM0]),
        json.dumps([MEM0], indent=1),
        json.dumps({"results": [MEM0], "relations": []}),
        json.dumps({"count": 1, "next": None, "results": [MEM0]}, indent=4),
        json.dumps(MEM0, indent=4),
    ],
)
def test_mem0_in_every_shape(read, shape):
    first, *rest = read(shape, "mem0")
    experience = first.experience
    assert (experience.problem.text, experience.principles) == (RATES, (RATES,))
    assert experience.metadata.created_at == 1722014976.630547
    assert experience.metadata.extra == {
        "id": "f1", "user_id": "ann", "hash": "ab12", "topic": "maths",
        "created_at": MEM0["created_at"], "updated_at": None, "categories": '["a", "b"]',
    }  # fmt: skip
    assert says(rest) == [("other",)] * len(rest)


def test_mem0_may_say_when_in_its_metadata(read):
    (entry,) = read(in_lines({**MEM0, "metadata": {"when_to_use": WHEN}}), "mem0")
    assert entry.experience.problem.text == WHEN


def test_an_ace_playbook_gives_principles_and_from_its_mistakes_pitfalls(read):
    one, two, three = read(PLAYBOOK, "ace")
    assert one.experience.principles == (RATES,)
    assert one.experience.metadata.extra == {
        "id": "sai-00001", "section": "STRATEGIES & INSIGHTS", "helpful": 5, "harmful": 1,
    }  # fmt: skip
    assert two.experience.principles == ("Write it down:\n  rate = way / time",)
    assert three.experience.pitfalls == ("Adding the hours to the distance.",)
    assert three.experience.principles == ()
    assert [e.line for e in (one, two, three)] == [5, 6, 10]
    assert len({e.experience.problem.id for e in (one, two, three)}) == 3
    assert {e.experience.metadata.source for e in (one, two, three)} == {"ace"}


def test_windows_line_ends_and_a_byte_order_mark_are_no_part_of_a_text(read):
    raw = b"\xef\xbb\xbf" + PLAYBOOK.replace("\n", "\r\n").encode()
    assert says(read(raw, "ace")) == says(read(PLAYBOOK, "ace"))
    for text in (in_lines(MEM0, MEM0), json.dumps([MEM0, MEM0], indent=1)):
        raw = b"\xef\xbb\xbf" + text.replace("\n", "\r\n").encode()
        assert says(read(raw, "mem0")) == [(RATES,)] * 2


@pytest.mark.parametrize(
    "wrapped", [list, lambda b: {"bullets": b}, lambda b: {"bullets": {"x": b[0]}}]
)
def test_an_ace_playbook_as_json(read, wrapped):
    bullet = {"id": "x", "section": "Pitfalls", "content": "Adding.", "helpful": 1, "harmful": 0}
    (entry,) = read(json.dumps(wrapped([bullet])), "ace")
    assert entry.experience.pitfalls == ("Adding.",)
    assert entry.experience.metadata.extra["helpful"] == 1


def test_a_bullet_that_is_none_costs_only_itself(read):
    broken = "## S\n[a-1] helpful=x harmful=0 :: one\n[a-2] helpful=1 harmful=0 :: two\n"
    bad, good = read(broken + "[a-3] helpful=1 harmful=0 ::  \n", "ace")[:2]
    assert (bad.line, bad.status, "no bullet" in bad.error) == (2, "failed", True)
    assert good.experience.principles == ("two",)
    empty = read(broken + "[a-3] helpful=1 harmful=0 ::  \n", "ace")[2]
    assert (empty.line, empty.status) == (4, "rejected")
    (huge,) = read(f"[a-1] helpful={'9' * 5_000} harmful=0 :: x", "ace")
    assert "too large" in huge.error


@pytest.mark.parametrize(
    "shape",
    [
        json.dumps([ITEM]),
        in_lines(ITEM),
        in_lines({"query": "q", "memory_items": [ITEM]}),
        in_lines({"query": "q", "memory_items": MARKDOWN}),
        in_lines({"query": "q", "memory_items": MARKDOWN.split("\n\n")}),
        json.dumps([MARKDOWN]),
        json.dumps({"query": "q", "memory_items": [ITEM]}, indent=1),
        MARKDOWN,
        f"```\n{MARKDOWN.split(chr(10) * 2)[0]}\n```",
    ],
)
def test_reasoningbank_in_every_shape(read, shape):
    first, *rest = read(shape, "reasoningbank")
    experience = first.experience
    assert (experience.problem.text, experience.principles) == (RATES, (RATES,))
    extra = dict(experience.metadata.extra)
    assert extra.pop("query", "q") == "q"
    assert extra == {"title": "Rates", "description": "When to find a rate."}
    assert says(rest) == [("Mind the sign\nof every term.",)] * len(rest)


def test_the_items_of_a_task_have_problems_of_their_own_and_what_is_known_of_the_task(read):
    task = {"task_id": "7", "status": "fail", "think_list": ["x" * 20_000], "steps": ["a"]}
    entries = read(in_lines({**task, "memory_items": [ITEM, {**ITEM, "content": "b"}]}),
                   "reasoningbank")  # fmt: skip
    assert len({e.experience.problem.id for e in entries}) == 2
    for entry in entries:
        assert entry.left_out == ("think_list",)
        assert entry.experience.metadata.extra["status"] == "fail"
        assert entry.experience.metadata.extra["steps"] == '["a"]'


def test_markdown_items_are_found_on_their_lines(read):
    assert [e.line for e in read(MARKDOWN, "reasoningbank")] == [1, 6]
    (bad,) = read("# Memory Item 1\n## Title x", "reasoningbank")
    assert "without ## Content" in bad.error
    (none,) = read("Just words.", "reasoningbank")
    assert "no memory item" in none.error
    assert read(" \n", "reasoningbank") == []


# ---------------------------------------------------------------------- what is kept


def test_label_like_fields_are_dropped_at_any_depth_and_named(read):
    row = {
        **MEM0,
        "gold_answer": "SECRET",
        "metadata": {
            "Answers": "SECRET",
            "solver": {"groundTruth": "SECRET", "steps": [{"label": "SECRET"}]},
        },
    }
    (entry,) = read(in_lines(row), "mem0")
    assert sorted(entry.dropped) == [
        "gold_answer", "metadata.Answers", "metadata.solver.groundTruth",
        "metadata.solver.steps.label",
    ]  # fmt: skip
    assert "SECRET" not in entry.experience.model_dump_json()
    assert entry.experience.metadata.extra["solver"] == '{"steps": [{}]}'


def test_numbers_that_no_record_holds_are_kept_as_text(read):
    (entry,) = read(in_lines({**MEM0, "metadata": {"n": 2**70, "m": -0.0, "t": True}}), "mem0")
    extra = entry.experience.metadata.extra
    assert (extra["n"], extra["t"], str(extra["m"])) == (str(2**70), True, "-0.0")


@pytest.mark.parametrize(
    ("created", "seconds"),
    [
        ("2024-01-01T00:00:00Z", 1704067200.0), ("2024-01-01", 1704067200.0),
        (1704067200, 1704067200.0), (1.5, 1.5), ("yesterday", None), (None, None), (True, None),
        ([1], None), (10**400, None), ("0001-01-01T00:00:00+14:00", -62135647200.0),
    ],
)  # fmt: skip
def test_a_time_is_kept_where_there_is_one(read, created, seconds):
    (entry,) = read(in_lines({**MEM0, "created_at": created}), "mem0")
    assert entry.experience.metadata.created_at == seconds


# ---------------------------------------------------------------------- what can go wrong


@pytest.mark.parametrize(
    ("row", "status", "fault"),
    [
        ("{", "failed", "not JSON"),
        (b'{"memory": "\xff"}', "failed", "not UTF-8"),
        ("[" * 100_000, "failed", "nested too deeply"),
        ('{"memory": ' + "9" * 5_000 + "}", "failed", "a number too long"),
        ([1], "failed", "not a JSON object but a list"),
        (7, "failed", "not a JSON object but a number"),
        (None, "failed", "not a JSON object but null"),
        ({}, "failed", "there is no 'memory' in it; is it of another format?"),
        ({"memory": ["x"]}, "failed", "the content is not a string but a list"),
        ({"memory": "x", "when_to_use": 7}, "failed", "'when_to_use' is not a string"),
        ({"memory": " \n"}, "rejected", "the content is empty"),
        ({"memory": "x" * 3_000_000}, "rejected", "3,000,000 characters"),
        ({"memory": "a\0b"}, "rejected", "NUL"),
        ({"memory": "\ud800"}, "rejected", "surrogate"),
        ({"memory": "x", "when_to_use": "\ud800"}, "rejected", "surrogate"),
        ({"memory": "x", "score": float("nan")}, "rejected", "'score' is not a finite number"),
        ({"memory": "x", "metadata": {"score": float("inf")}}, "rejected", "'metadata.score'"),
        ({"memory": "x", "metadata": {"a": [float("nan")]}}, "rejected", "'metadata.a'"),
        ({"memory": "x", "note": "\0"}, "rejected", "NUL"),
        ({"memory": "x", "\ud800": 1}, "rejected", "surrogate"),
        ({"memory": "x", "k" * 20_000: 1}, "rejected", "characters"),
    ],
)
def test_a_bad_item_names_file_line_and_fault_and_costs_only_itself(read, row, status, fault):
    raw = row if isinstance(row, bytes) else in_lines(row).encode()
    before, bad, after = read(b"\n".join([in_lines(MEM0).encode(), raw, in_lines(MEM0).encode()]),
                              "mem0")  # fmt: skip
    assert before.experience is not None
    assert before.experience == after.experience
    assert (bad.experience, bad.line, bad.status) == (None, 2, status)
    assert f"{bad.path}, line 2: " in bad.error
    assert fault in bad.error
    assert len(bad.error) < 30_000
    bad.error.encode()


@pytest.mark.parametrize(
    ("layout", "text"),
    [
        ("ace", "[a] " + "helpful " * 100_000),
        ("ace", "## " + " " * 500_000 + "x"),
        ("ace", " " * 500_000 + "- " + " " * 500_000),
        ("ace", "[" * 500_000),
        ("reasoningbank", "#" * 500_000 + " x"),
        ("reasoningbank", "# Memory Item\n" * 50_000),
        ("reasoningbank", "## Content" + "*" * 500_000 + "\n" + " " * 500_000),
        ("mem0", "[" + "{}," * 50_000),
        ("mem0", '{"results": [' + '{"memory": "x"},\n' * 50_000),
    ],
    ids=range(9),
)
def test_hostile_texts_take_time_in_proportion(read, layout, text):
    """What grew with the square of the length would not end while anybody waits."""
    read(text, layout)


def test_a_list_that_breaks_off_keeps_what_stands_before_it(read):
    whole = json.dumps([MEM0, {**MEM0, "memory": "other"}], indent=1)
    first, *rest = read(whole[:-40], "mem0")
    assert first.experience
    assert (rest[-1].status, "what follows is not read" in rest[-1].error) == ("failed", True)
    *_, last = read(whole + "\n[1]", "mem0")
    assert "more text after the end" in last.error


def test_a_wrong_path_or_format_raises_at_once(tmp_path):
    with pytest.raises(InvalidInputError, match=r"missing\.json"):
        read_experiences(tmp_path / "missing.json", "mem0")
    with pytest.raises(InvalidInputError, match="cannot read"):
        read_experiences(tmp_path, "ace")
    with pytest.raises(InvalidInputError, match="ace, mem0, reasoningbank, reme"):
        read_experiences(tmp_path / "missing.json", "csv")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=5,
)
NAMES = ["content", "memory", "memory_items", "metadata", "score", "when_to_use", "results",
         "bullets", "section", "time_created", "created_at"]  # fmt: skip
OBJECT = st.dictionaries(st.sampled_from(NAMES), JSON)
MARKS = ["# Memory Item 1\n", "## Content", "## x\n", "[a-1] helpful=1 harmful=0 :: ", "[a] ::",
         "\n", "text", "{", "[", "\x00", "\x85"]  # fmt: skip


@given(
    st.lists(
        st.binary(max_size=30) | (JSON | OBJECT).map(lambda v: json.dumps(v).encode()), max_size=4
    ).map(b"\n".join)
    | st.lists(JSON | OBJECT, max_size=3).map(lambda v: json.dumps(v, indent=1).encode())
    | st.lists(st.sampled_from(MARKS), max_size=8).map(lambda parts: "".join(parts).encode()),
    st.sampled_from(sorted(POOL_FORMATS)),
)
@settings(max_examples=400, deadline=None)
def test_no_item_ever_raises(tmp_path_factory, raw, layout):
    path = tmp_path_factory.getbasetemp() / "fuzzed.json"
    path.write_bytes(raw)
    for entry in read_experiences(path, layout):
        assert (entry.experience is None) == bool(entry.error) == (entry.status is not None)
        entry.error.encode()
        if entry.experience is not None:
            entry.experience.model_dump_json().encode()
