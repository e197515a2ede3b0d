"""`lanpo pool ...`, run in this process through the same `main` as the installed command."""

import json
import re
import sys
from dataclasses import dataclass

import pytest

from lanpo_memory.pool import open_pool
from lanpo_memory.types import Experience, Problem
from lanpo_rl.cli import main

EGGS = {
    "problem": "How many [red] eggs [/bold] are left?",
    "completion": "First count the [/bold] eggs :smile: that are there.\nThe answer is 5",
    "correct": True,
    "step": 3,
}
HENS = {
    "problem": "How many hens are left?",
    "completion": "Subtract the [red]hens that went away.",
    "correct": False,
}
EMPTY = {"problem": "How many ducks remain?", "completion": "", "correct": False}
POLICIES = ("6b_finetuning", "6b_verification", "175b_finetuning", "175b_verification")
GSM8K = {
    "question": "Natalia sold 48 clips, then half as many. How many in all?",
    "ground_truth": "REFERENCE 72",
    **{
        policy: {"is_correct": "6b" in policy[:2], "solution": f"As {policy} adds them.\nA: 72"}
        for policy in POLICIES
    },
}


@dataclass
class Ran:
    code: int
    out: str
    err: str


@pytest.fixture
def lanpo(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "120")

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["lanpo", *map(str, arguments)])
        with pytest.raises(SystemExit) as stopped:
            main()
        captured = capsys.readouterr()
        return Ran(stopped.value.code or 0, captured.out, captured.err)

    return run


@pytest.fixture
def lines(tmp_path):
    def write(*rows, name="rollouts.jsonl"):
        path = tmp_path / name
        path.write_text("".join((r if isinstance(r, str) else json.dumps(r)) + "\n" for r in rows))
        return path

    return write


@pytest.fixture
def pool(tmp_path):
    return tmp_path / "pool.db"


@pytest.fixture
def filled(lanpo, lines, pool):
    assert lanpo("pool", "import", lines(EGGS, HENS), "--pool", pool).code == 0
    return pool


def stored(pool):
    with open_pool(pool, create=False) as opened:
        return opened.store.read("experience")


def digest(pool):
    with open_pool(pool, create=False) as opened:
        return opened.digest()


# ---------------------------------------------------------------------- help


@pytest.mark.parametrize(
    ("command", "purpose"),
    [
        (("demo",), "Train a tiny policy"),
        (("seed",), "Build the tiny policy"),
        (("train",), "Train a causal language model"),
        (("pool", "import"), "Summarise a file of rollouts"),
        (("pool", "search"), "most similar problems"),
        (("pool", "list"), "List the newest experiences"),
        (("pool", "show"), "Show one experience"),
        (("pool", "stats"), "Count what a pool holds"),
        (("pool", "export"), "Write everything a pool holds"),
        (("pool", "rm"), "Delete experiences"),
    ],
)
def test_every_command_says_what_it_does_and_gives_an_example(lanpo, command, purpose):
    ran = lanpo(*command, "--help")
    assert (ran.code, ran.err) == (0, "")
    assert purpose in ran.out
    assert f"Example: lanpo {' '.join(command)} " in ran.out


def test_help_lists_every_command(lanpo):
    assert re.findall(r"^│ (\w+)  ", lanpo("--help").out, re.M) == ["demo", "seed", "train", "pool"]
    listed = re.findall(r"^│ (\w+)  ", lanpo("pool", "--help").out, re.M)
    assert listed == ["import", "search", "list", "show", "stats", "export", "rm"]


# ---------------------------------------------------------------------- import


def test_import_stores_and_gives_one_receipt_a_rollout(lanpo, lines, pool, tmp_path):
    receipts = tmp_path / "receipts.jsonl"
    file = lines(EGGS, HENS, EMPTY, EGGS)
    ran = lanpo("pool", "import", file, "--pool", pool, "--receipts", receipts)
    assert ran.code == 0
    rows = [json.loads(line) for line in receipts.read_text().splitlines()]
    assert [row["status"] for row in rows] == ["added", "added", "failed", "duplicate"]
    ids = [Problem(text=row["problem"]).id for row in (EGGS, HENS, EMPTY, EGGS)]
    assert [row["problem_id"] for row in rows] == ids
    assert "completion is empty" in rows[2]["reason"]
    eggs, hens = stored(pool)
    assert [eggs.id, hens.id] == [row["id"] for row in rows[:2]]
    assert eggs.principles == ("First count the [/bold] eggs :smile: that are there.",)
    assert hens.pitfalls == ("Subtract the [red]hens that went away.",)
    assert (eggs.metadata.correct, eggs.metadata.step) == (True, 3)
    assert "4 rollouts in" in ran.out
    for status in ("added", "duplicate", "failed"):
        assert status in ran.out


def test_gsm8k_gives_four_rollouts_a_line_and_keeps_no_reference(lanpo, lines, pool, tmp_path):
    receipts = tmp_path / "receipts.jsonl"
    ran = lanpo(
        "pool", "import", lines(GSM8K), "--format", "gsm8k-rollouts",
        "--pool", pool, "--receipts", receipts,
    )  # fmt: skip
    assert ran.code == 0
    assert len(receipts.read_text().splitlines()) == 4
    found = stored(pool)
    assert [e.metadata.correct for e in found] == [True, True, False, False]
    assert {e.problem.text for e in found} == {GSM8K["question"]}
    assert "ground_truth (1)" in ran.out
    with open_pool(pool) as opened:
        assert "REFERENCE" not in json.dumps(list(opened.records()))


def test_bad_lines_are_named_the_others_imported_and_the_exit_code_is_1(lanpo, lines, pool):
    file = lines(EGGS, '{"problem": [/bold]', {"problem": "no completion"}, HENS)
    ran = lanpo("pool", "import", file, "--pool", pool)
    assert ran.code == 1
    assert f"{file}, line 2: not JSON" in ran.out
    assert f"{file}, line 3: missing column 'completion'" in ran.out
    assert "2 unreadable lines" in ran.out
    assert len(stored(pool)) == 2


def test_many_bad_lines_are_counted(lanpo, lines, pool):
    ran = lanpo("pool", "import", lines(*["{"] * 25), "--pool", pool)
    assert ran.out.count("not imported:") == 20
    assert "5 more lines" in ran.out


def test_label_like_columns_are_reported_and_never_stored(lanpo, lines, pool):
    row = {**EGGS, "answer [/bold]": "SECRET 1", "Gold": "SECRET 2"}
    ran = lanpo("pool", "import", lines(row, row), "--pool", pool)
    assert ran.code == 0
    assert "look like reference answers: Gold (2), answer [/bold] (2)" in ran.out
    with open_pool(pool) as opened:
        assert "SECRET" not in json.dumps(list(opened.records()))


def test_namespaces_keep_apart(lanpo, filled, lines):
    assert lanpo("pool", "stats", "--pool", filled, "--namespace", "other").out.count(" 0\n") >= 5
    lanpo("pool", "import", lines(HENS), "--pool", filled, "--namespace", "other")
    assert "1 of 1 experiences" in lanpo("pool", "list", "-p", filled, "--namespace", "other").out
    assert "2 of 2 experiences" in lanpo("pool", "list", "-p", filled).out


@pytest.mark.parametrize("victim", ["rollouts.jsonl", "pool.db"])
def test_receipts_never_replace_a_file_in_use(lanpo, filled, lines, tmp_path, victim):
    file = lines(EGGS, HENS)
    before = (tmp_path / victim).read_bytes()
    ran = lanpo("pool", "import", file, "--pool", filled, "--receipts", tmp_path / victim)
    assert ran.code == 2
    assert "write to another file" in ran.err
    assert (tmp_path / victim).read_bytes() == before
    assert len(stored(filled)) == 2


# ---------------------------------------------------------------------- looking


def test_list_shows_the_newest_first_and_text_to_the_letter(lanpo, filled):
    eggs, hens = stored(filled)
    ran = lanpo("pool", "list", "--pool", filled)
    rows = ran.out.splitlines()
    assert rows[0].split() == ["id", "step", "outcome", "problem", "lesson"]
    assert rows[1].split()[:3] == [hens.id[:10], "0", "wrong"]
    assert rows[2].split()[:3] == [eggs.id[:10], "3", "correct"]
    assert "How many [red] eggs [/bold] are left?" in rows[2]
    assert "First count the [/bold] eggs :smile:" in rows[2]
    assert rows[3] == "2 of 2 experiences"
    one = lanpo("pool", "list", "--pool", filled, "--limit", 1)
    assert hens.id[:10] in one.out
    assert eggs.id[:10] not in one.out
    assert "1 of 2 experiences" in one.out


@pytest.mark.parametrize("length", [20, 8])
def test_show_prints_json_by_id_or_its_start(lanpo, filled, length):
    eggs, _ = stored(filled)
    shown = json.loads(lanpo("pool", "show", eggs.id[:length], "--pool", filled).out)
    assert (shown.pop("id"), shown.pop("lesson_id")) == (eggs.id, eggs.lesson_id)
    assert Experience(**shown) == eggs


def test_search_shows_problem_lessons_similarity_and_time(lanpo, filled):
    eggs, hens = stored(filled)
    ran = lanpo("pool", "search", "how many eggs are left", "--pool", filled)
    assert ran.code == 0
    first, second = ran.out.split("2. ")
    assert re.search(rf"1\. similarity 0\.\d\d .* correct  step 3  {eggs.id}\n", first)
    assert "problem: How many [red] eggs [/bold] are left?\n" in first
    assert "principle: First count the [/bold] eggs :smile: that are there.\n" in first
    assert hens.id in second
    assert "pitfall: Subtract the [red]hens that went away.\n" in second
    assert re.search(r"2 of 2 experiences in \d+\.\d ms", second)
    similarities = [float(x) for x in re.findall(r"similarity (\d\.\d\d)", ran.out)]
    assert similarities == sorted(similarities, reverse=True)


def test_search_takes_k_and_says_when_nothing_is_alike(lanpo, filled):
    assert "1 of 2 experiences" in lanpo("pool", "search", "eggs left", "-p", filled, "-k", 1).out
    ran = lanpo("pool", "search", "[/bold] zebra", "-p", filled, "-k", 1)
    assert ran.code == 0
    nothing = lanpo("pool", "search", "zebra", "-p", filled)
    assert (nothing.code, "nothing in the pool" in nothing.out) == (0, True)


def test_stats_counts_and_prints_the_digest(lanpo, filled):
    ran = lanpo("pool", "stats", "--pool", filled)
    figures = dict(line.split(maxsplit=1) for line in ran.out.splitlines())
    assert (figures["experiences"], figures["problems"]) == ("2", "2")
    assert figures["outcomes"] == "correct 1, wrong 1"
    assert figures["steps"] == "0 to 3"
    assert figures["digest"] == digest(filled)


# ---------------------------------------------------------------------- moving and removing


def test_export_and_restore_keep_the_digest(lanpo, filled, tmp_path):
    file = tmp_path / "[bold]pool.jsonl"
    ran = lanpo("pool", "export", file, "--pool", filled)
    assert ran.code == 0
    assert f"wrote 2 experiences to {file}, digest {digest(filled)}" in ran.out
    with open_pool(tmp_path / "other.db") as other:
        other.restore(file)
        assert other.digest() == digest(filled)


def test_export_never_replaces_a_pool(lanpo, filled, tmp_path):
    before = digest(filled)
    ran = lanpo("pool", "export", filled, "--pool", filled)
    assert (ran.code, "write to another file" in ran.err) == (2, True)
    assert digest(filled) == before


def test_rm_deletes_by_id_or_start_and_counts_each_once(lanpo, filled):
    eggs, hens = stored(filled)
    ran = lanpo("pool", "rm", eggs.id, eggs.id[:9], "--pool", filled)
    assert (ran.code, ran.out) == (0, "deleted 1; the pool holds 1 experiences\n")
    assert [e.id for e in stored(filled)] == [hens.id]


@pytest.mark.parametrize("unknown", ["zzz", "", " "])
def test_rm_with_one_unknown_id_deletes_nothing(lanpo, filled, unknown):
    eggs, _ = stored(filled)
    ran = lanpo("pool", "rm", eggs.id, unknown, "--pool", filled)
    assert ran.code == 2
    assert len(stored(filled)) == 2


def test_an_empty_id_is_refused_even_if_there_is_one_experience_only(lanpo, lines, pool):
    lanpo("pool", "import", lines(EGGS), "--pool", pool)
    ran = lanpo("pool", "rm", "", "--pool", pool)
    assert (ran.code, len(stored(pool))) == (2, 1)


# ---------------------------------------------------------------------- what can go wrong


def one_line(ran, *parts):
    assert ran.code == 2
    assert ran.out == ""
    (line,) = ran.err.splitlines()
    assert line.startswith("error: ")
    for part in parts:
        assert part in line


LOOKING = [("list",), ("show", "x"), ("search", "x"), ("stats",), ("export", "f"), ("rm", "x")]


@pytest.mark.parametrize("command", LOOKING, ids=lambda command: command[0])
def test_a_missing_pool_is_not_made_by_looking(lanpo, tmp_path, command):
    missing = tmp_path / "[bold]none.db"
    one_line(lanpo("pool", *command, "--pool", missing), f"there is no pool at {missing}")
    assert not missing.exists()


@pytest.mark.parametrize("command", [("import", "FILE"), *LOOKING], ids=lambda command: command[0])
def test_a_text_file_as_pool_is_refused_and_untouched(lanpo, lines, command):
    file = lines(EGGS)
    before = file.read_bytes()
    arguments = [file if part == "FILE" else part for part in command]
    one_line(lanpo("pool", *arguments, "--pool", file), "is not a pool", "lanpo pool import")
    assert file.read_bytes() == before


def test_an_unknown_scheme_a_folder_or_a_missing_folder_names_the_remedy(lanpo, lines, tmp_path):
    one_line(lanpo("pool", "list", "--pool", "redis://x"), "Known addresses")
    one_line(lanpo("pool", "list", "--pool", tmp_path), "is a folder")
    there = tmp_path / "none" / "pool.db"
    one_line(lanpo("pool", "import", lines(EGGS), "--pool", there), "make it first")


def test_unknown_and_ambiguous_ids(lanpo, pool, filled):
    with open_pool(pool) as opened:
        opened.add(
            [Experience(problem=Problem(text=f"Problem {i}"), thoughts="x") for i in range(17)]
        )
    one_line(lanpo("pool", "show", "[/bold]", "--pool", pool), "'[/bold]'", "lanpo pool list")
    starts = [e.id[0] for e in stored(pool)]
    twice = next(start for start in starts if starts.count(start) > 1)
    one_line(lanpo("pool", "show", twice, "--pool", pool), "experiences have", "give more of it")


def test_an_unknown_format_or_a_missing_file_makes_no_pool(lanpo, lines, pool, tmp_path):
    ran = lanpo("pool", "import", lines(EGGS), "--format", "csv", "--pool", pool)
    one_line(ran, "'csv'", "gsm8k-rollouts, rollouts")
    one_line(lanpo("pool", "import", tmp_path / "none.jsonl", "--pool", pool), "none.jsonl")
    one_line(lanpo("pool", "import", tmp_path, "--pool", pool), "cannot read")
    assert not pool.exists()


def test_a_file_that_cannot_be_written_costs_nothing(lanpo, filled, lines, tmp_path):
    nowhere = tmp_path / "none" / "[/bold]file.jsonl"
    before = digest(filled)
    ran = lanpo("pool", "import", lines(EMPTY), "--pool", filled, "--receipts", nowhere)
    one_line(ran, f"cannot write {nowhere}")
    one_line(lanpo("pool", "export", nowhere, "--pool", filled), f"cannot write {nowhere}")
    assert digest(filled) == before


def test_a_damaged_pool_is_named_and_not_touched(lanpo, tmp_path):
    path = tmp_path / "damaged.db"
    path.write_bytes(b"SQLite format 3\0" + b"\1" * 200)
    one_line(lanpo("pool", "stats", "--pool", path), str(path))
    assert path.read_bytes() == b"SQLite format 3\0" + b"\1" * 200


def test_an_empty_query_is_refused(lanpo, filled):
    one_line(lanpo("pool", "search", " ", "--pool", filled), "is empty")


def test_an_unknown_option_is_a_usage_error(lanpo):
    ran = lanpo("pool", "stats", "--bogus")
    assert (ran.code, "Traceback" in ran.err) == (2, False)
    assert "No such option" in ran.err
