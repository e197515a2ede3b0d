"""The report of a study: what stands in it, from many runs, from one, and from none."""

from __future__ import annotations

import errno
import json
import random
import re
import socket
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from lanpo_memory.errors import PoolWriteError
from lanpo_rl.seeding.tiny_skills.policies import SHIPPED
from lanpo_rl.study.arms import GRPO, MEMORY_ONLY, PAPER, RECOMMENDED, Arm
from lanpo_rl.study.own import ModelPolicy
from lanpo_rl.study.report import Failed, Findings, NotRun, StudyReport, write_report
from lanpo_rl.study.report.arm_tables import accuracy_rows, tables_of
from lanpo_rl.study.report.asked import QUESTIONS
from lanpo_rl.study.report.blocks import Bullets, Grid, Heading, Item, Paragraph, as_markdown
from lanpo_rl.study.report.composing import headline_rows
from lanpo_rl.study.report.diagnostics import blocks_of, diagnostics, early_and_late
from lanpo_rl.study.report.findings import SubjectRuns
from lanpo_rl.study.report.measures import (
    MODE_LABELS,
    Cost,
    final,
    greedy,
    passing,
    tokens_spent_to,
)
from lanpo_rl.study.report.origins import without_places
from lanpo_rl.study.report.page import as_html
from lanpo_rl.study.report.pictures import band, grouped
from lanpo_rl.study.report.prose import cautions, constant_guess, paper_paragraphs
from lanpo_rl.study.report.questions import Answer, Question, answers
from lanpo_rl.study.report.targets import TARGETS
from lanpo_rl.study.results import ArmResult, ModeFigures, Point
from lanpo_rl.study.studies import PAPER_STUDY, Part, Study
from lanpo_rl.study.subjects import CONSTANTS_SUBJECT, Subject
from lanpo_rl.tasks import make_chains, make_hidden_constants

CHAINS = Subject(
    "chains", "chains of steps", make_chains, SHIPPED, modes=("zero_shot", "self_correct")
)
INTRA = RECOMMENDED.but("intra", "LANPO intra")
LEAKY = RECOMMENDED.but("intra_leaky", "leaky attempt")
STUDY = Study(
    "sample",
    "Does a sample <help>?",
    (
        Part(CONSTANTS_SUBJECT, (MEMORY_ONLY, GRPO, PAPER, RECOMMENDED)),
        Part(CHAINS, (GRPO, INTRA, LEAKY)),
    ),
    seeds=3,
    minutes=1,
)
LEVELS = {  # zero-shot and with memory at the end
    "memory_only": (0.06, 0.96),
    "grpo": (0.20, 0.40),
    "paper": (0.10, 0.97),
    "recommended": (0.90, 0.95),
    "intra": (0.95, 0.90),
    "intra_leaky": (0.30, 0.30),
}


def figures(mean: float, samples: int = 4) -> ModeFigures:
    return ModeFigures(mean, {1: mean, 2: mean, 4: min(1.0, mean + 0.05)}, 160, samples)


def run(arm: Arm, seed: int, subject: Subject = CONSTANTS_SUBJECT, **levels: float) -> ArmResult:
    """A made-up run: straight up to its level over 40 steps, 100 tokens and 1/4 s each."""
    noise = random.Random(f"{arm.name} {seed}").uniform(-0.02, 0.02)
    zero_shot, memory = LEVELS.get(arm.name, (0.5, 0.5))
    zero_shot, memory = levels.get("zero_shot", zero_shot + noise), memory + noise
    checks = "self_correct" in subject.modes
    curve = [
        Point(
            step=step,
            tokens=100 * step,
            seconds=step / 4,
            zero_shot=zero_shot * step / 40,
            with_memory=memory,
            guided=1.0,
            right_family=0.75,
            self_corrected=zero_shot if checks else None,
        )
        for step in (0, 10, 20, 30, 40)
    ]
    log = [
        {
            "step": step,
            "entropy": 1 / step,
            "lanpo/reward_guided": 0.96,
            "lanpo/reward_scratch": 0.125,
            "lanpo/zero_variance_scratch": 0.5,
            "lanpo/guided_rows": 0.375,
            "lanpo/truncated_prompts": 2.0,
        }
        for step in range(1, 41)
    ]
    modes: dict[str, ModeFigures] = {
        mode: figures(zero_shot if mode == "zero_shot" else memory) for mode in MODE_LABELS
    }
    return ArmResult(
        arm.name,
        arm.label,
        seed,
        {"max_steps": 40, "learning_rate": arm.learning_rate, "seed": seed},
        curve=curve,
        stage_seconds={"generate": 6.0, "update": 2.0},
        log=log,
        final={"held_out": modes, "shifted": {"zero_shot": figures(zero_shot / 2)}},
    )


def findings(seeds: Sequence[int] = (0, 1, 2), *, study: Study = STUDY, **changes: Any) -> Findings:
    runs = {
        part.subject.name: [run(arm, seed, part.subject) for arm in part.arms for seed in seeds]
        for part in study.parts
    }
    return replace(Findings(study, runs, 3, "2026-01-02"), **changes)


def subject_of(found: Findings, name: str = "constants") -> SubjectRuns:
    return next(each for each in found.subjects if each.subject.name == name)


def grids(found: SubjectRuns) -> dict[str, list[dict[str, str]]]:
    return {grid.title: list(grid.rows) for grid in tables_of(found)}


FAILED = Failed(
    "constants/paper/seed-2",
    "constants, LANPO paper, seed 2",
    'Traceback (most recent call last):\n  File "/srv/secret/run.py", line 1\n'
    "OSError: [Errno 28] No space left on device: '/srv/secret/pool.db'\n",
)


@pytest.fixture(scope="module")
def partial() -> Findings:
    """A study of which one run crashed and one was not made."""
    found = findings()
    left = [r for r in found.runs["constants"] if (r.arm, r.seed) != ("paper", 2)]
    others = [r for r in found.runs["chains"] if (r.arm, r.seed) != ("intra", 1)]
    missing = NotRun("chains/intra/seed-1", "chains, LANPO intra, seed 1", "budget")
    return replace(
        found, runs={"constants": left, "chains": others}, failed=[FAILED], not_run=[missing]
    )


@pytest.fixture(scope="module")
def written(partial: Findings, tmp_path_factory: pytest.TempPathFactory) -> StudyReport:
    return write_report(tmp_path_factory.mktemp("study"), partial)


@pytest.fixture
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Drawing takes most of the time; a report without pictures will do."""

    def draw(found: SubjectRuns, folder: Path) -> list[Path]:
        return []

    monkeypatch.setattr("lanpo_rl.study.report.writing.draw_subject", draw)


# ---------------------------------------------------------------------- the files


def test_a_report_is_markdown_a_page_pictures_and_numbers(written: StudyReport):
    folder = written.html.parent
    names = ["chains-1.png", "constants-1.png", "report.html", "report.md", "results.json"]
    assert sorted(path.name for path in folder.iterdir()) == names
    assert all(path.read_bytes().startswith(b"\x89PNG\r\n\x1a\n") for path in written.pictures)
    text = written.markdown.read_text(encoding="utf-8")
    for path in written.pictures:
        assert f"]({path.name})" in text


def test_the_page_is_whole_in_itself(written: StudyReport):
    page = written.html.read_text(encoding="utf-8")
    assert page.count('src="data:image/png;base64,') == len(written.pictures)
    assert re.findall(r'(?:src|href)="(?!data:image/png|#)', page) == []
    assert "http" not in page
    assert "<script" not in page
    anchors = re.findall(r'href="#(\w+)"', page)
    assert anchors
    assert all(f'id="{anchor}"' in page for anchor in anchors)


def test_text_is_no_markup(written: StudyReport):
    page = written.html.read_text(encoding="utf-8")
    assert "Does a sample &lt;help&gt;?" in page
    assert r"Does a sample \<help\>?" in written.markdown.read_text(encoding="utf-8")


def test_no_folder_and_no_host_name_is_written(written: StudyReport):
    for path in (written.markdown, written.html, written.json):
        text = re.sub(r"base64,[^\"]*", "", path.read_text(encoding="utf-8"))
        assert "secret" not in text
        assert str(written.html.parent) not in text
        assert str(Path.home()) not in text
        assert socket.gethostname() not in re.findall(r"[\w.-]+", text)


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("no file /a/b/c.txt", "no file …/c.txt"),
        ("open('~/x/y.db')", "open('…/y.db')"),
        (r"at C:\Users\me\run.py:3", "at …/run.py:3"),
        ("3/4 of and/or constants/grpo/seed-1", "3/4 of and/or constants/grpo/seed-1"),
        ("5 s / step", "5 s / step"),
    ],
)
def test_folders_are_taken_out_of_text(text: str, left: str):
    assert without_places(text) == left


def test_the_name_of_the_machine_is_taken_out(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(socket, "gethostname", lambda: "pasteur")
    assert without_places("no route to pasteur, pasteurised") == (
        "no route to this machine, pasteurised"
    )


def test_results_hold_every_run_without_its_long_log(written: StudyReport, partial: Findings):
    content = json.loads(written.json.read_text(encoding="utf-8"))
    assert (content["study"], content["date"], content["seeds"]) == ("sample", "2026-01-02", 3)
    assert {"machine", "versions", "answers", "failed", "not_run"} <= content.keys()
    assert len(content["runs"]) == partial.finished == 19
    first = content["runs"][0]
    assert (first["subject"], first["arm"], first["seed"]) == ("constants", "memory_only", 0)
    assert "log" not in first
    assert first["log_by_10_steps"]["step"] == [10.0, 20.0, 30.0, 40.0]
    assert [point["step"] for point in first["curve"]] == [0, 10, 20, 30, 40]
    assert first["final"]["held_out"]["retrieval"]["samples"] == 4
    assert content["subjects"][0]["arms"]["paper"] == {
        "label": PAPER.label,
        "planned": 3,
        "finished": [0, 1],
        "crashed": 1,
    }
    assert "NaN" not in written.json.read_text(encoding="utf-8")


def test_an_earlier_report_stays_whole_when_the_disk_is_full(
    undrawn: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    (tmp_path / "report.md").write_text("earlier", encoding="utf-8")

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("lanpo_memory.snapshots.os.fsync", full)
    with pytest.raises(PoolWriteError, match="No space left"):
        write_report(tmp_path, findings([0]))
    assert (tmp_path / "report.md").read_text(encoding="utf-8") == "earlier"
    assert [path.name for path in tmp_path.iterdir()] == ["report.md"]


def test_a_picture_that_does_not_fit_on_the_disk_is_not_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("matplotlib.figure.Figure.savefig", full)
    with pytest.raises(PoolWriteError, match="No space left"):
        write_report(tmp_path, findings([0]))
    assert list(tmp_path.iterdir()) == []


# ---------------------------------------------------------------------- what is missing


def test_a_crashed_run_is_marked_and_says_why(written: StudyReport):
    text = written.markdown.read_text(encoding="utf-8")
    assert "19 of 21 runs finished, 3 seeds for each arm; 1 crashed; 1 not made." in text
    assert "constants, LANPO paper, seed 2: OSError: [Errno 28] No space left on device" in text
    assert "chains, LANPO intra, seed 1: budget" in text
    assert "Traceback" not in text
    (row,) = [r for r in written.headline["hidden constants"] if r["arm"] == PAPER.label]
    assert row["seeds"] == "2 of 3, 1 crashed"
    (row,) = [r for r in written.headline["chains of steps"] if r["arm"] == INTRA.label]
    assert row["seeds"] == "2 of 3"


def test_a_report_is_made_of_no_run_at_all(tmp_path: Path):
    nothing = Findings(STUDY, {}, 3, "today", failed=[FAILED])
    report = write_report(tmp_path, nothing)
    text = report.markdown.read_text(encoding="utf-8")
    assert "No run has finished" in text
    assert "No space left" in text
    assert (report.pictures, report.headline) == ([], {})
    assert "**Yes.**" not in text
    assert json.loads(report.json.read_text())["runs"] == []


def test_samples_that_are_missing_are_named(undrawn: None, tmp_path: Path):
    one = run(GRPO, 0)
    one.final["held_out"]["self_correct"] = replace(figures(0.5), mean=None, missing=640)
    report = write_report(tmp_path, Findings(STUDY, {"constants": [one]}, 1, "today"))
    text = report.markdown.read_text(encoding="utf-8")
    assert "hidden constants, GRPO, seed 0, self-correct, held-out: 640 of 640" in text
    full = next(line for line in text.splitlines() if line.startswith("| GRPO | 1 | 0."))
    assert "–" in full


def test_policies_are_no_runs_and_are_told_apart(undrawn: None, tmp_path: Path):
    policy = Failed("policies/mini", "policy mini", "OSError: no space", is_run=False)
    lost = NotRun("constants/grpo/seed-0", "constants, GRPO, seed 0", "needs policies/mini")
    nothing = Findings(STUDY, {"constants": []}, 3, "today", failed=[policy], not_run=[lost])
    text = write_report(tmp_path, nothing).markdown.read_text(encoding="utf-8")
    assert "0 of 12 runs finished, 3 seeds for each arm; 1 not made." in text
    assert "policy mini: OSError: no space" in text


def test_pictures_of_an_earlier_report_do_not_stay(tmp_path: Path):
    earlier = [tmp_path / name for name in ("constants-7.png", "chains-1.png")]
    others = [tmp_path / name for name in ("constants-x.png", "constants-7-mine.png", "mine-1.png")]
    for path in (*earlier, *others):
        path.write_bytes(b"")
    report = write_report(tmp_path, Findings(STUDY, {"constants": [run(GRPO, 0)]}, 3, "today"))
    assert {*tmp_path.glob("*.png")} == {*report.pictures, *others}


def test_a_report_is_made_of_one_run(undrawn: None, tmp_path: Path):
    one = Findings(STUDY, {"constants": [run(GRPO, 0)]}, 3, "today")
    report = write_report(tmp_path, one)
    text = report.markdown.read_text(encoding="utf-8")
    assert re.search(r"\| GRPO \| 1 of 3 \| 0\.\d\d \| 0\.\d\d \|", text)
    assert "**Yes.**" not in text
    assert "**No.**" not in text


def test_arms_and_subjects_that_were_not_asked_for_are_left_out():
    only = findings(only=("paper", "recommended"))
    assert [*subject_of(only).arms] == ["paper", "recommended"]
    assert [found.subject.name for found in only.subjects] == ["constants"]


# ---------------------------------------------------------------------- tables


def test_tables_hold_what_the_runs_say():
    found = findings(runs={"constants": [run(GRPO, seed, zero_shot=0.5) for seed in (0, 1)]})
    tables = grids(subject_of(found))
    grpo = {title: next(r for r in rows if r["arm"] == "GRPO") for title, rows in tables.items()}
    assert grpo["Held-out problems, mean@4"]["zero-shot"] == "0.50 [0.50, 0.50]"
    assert grpo["Held-out problems, pass@4"]["zero-shot"] == "0.55 [0.55, 0.55]"
    assert grpo["Shifted problems, mean@4"]["zero-shot"] == "0.25 [0.25, 0.25]"
    cost = grpo["Cost, and greedy accuracy at the last evaluation"]
    assert (cost["tokens to 0.5"], cost["tokens to 0.8"]) == ("4k (2/2)", "– (0/2)")
    assert (cost["tokens"], cost["seconds"], cost["right family"]) == ("4k", "10", "0.75")
    stages = grpo["Where the time goes"]
    assert (stages["generate"], stages["a step"]) == ("6.0 (75 %)", "250 ms")
    trained = grpo["How it trained"]
    assert trained["zero variance, scratch"] == "0.50"
    assert trained["reward, guided"] == "0.96 → 0.96"
    assert trained["shortened"] == "80"
    assert [row["seed"] for row in tables["Every seed"]] == ["0", "1"]


def test_arms_stand_in_the_order_of_the_study():
    rows = accuracy_rows(subject_of(findings()), final)
    assert [row["arm"] for row in rows] == [a.label for a in STUDY.parts[0].arms]


def test_self_correction_has_a_column_only_where_it_is_taught():
    found = findings()
    cost = "Cost, and greedy accuracy at the last evaluation"
    assert "self-corrected" in grids(subject_of(found, "chains"))[cost][0]
    assert "self-corrected" not in grids(subject_of(found))[cost][0]
    for subject, taught, other in (
        (subject_of(found, "chains"), "self-correct", "retrieval"),
        (subject_of(found), "retrieval", "self-correct"),
    ):
        assert {taught, other} <= grids(subject)["Held-out problems, mean@4"][0].keys()
        differences = grids(subject)["Differences, seed by seed"][0].keys()
        assert f"{taught} − GRPO" in differences
        assert f"{other} − GRPO" not in differences
        assert taught in headline_rows(subject)[0]
        assert other not in headline_rows(subject)[0]


def test_differences_are_against_grpo_and_the_preset_that_an_arm_changes():
    variant = PAPER.but("paper_mixed", "paper, layout mixed")
    study = replace(STUDY, parts=(Part(CONSTANTS_SUBJECT, (GRPO, PAPER, variant, RECOMMENDED)),))
    rows = {
        r["arm"]: r for r in grids(subject_of(findings(study=study)))["Differences, seed by seed"]
    }
    assert rows[variant.label]["reference"] == PAPER.label
    assert rows[PAPER.label]["reference"] == RECOMMENDED.label
    assert rows[RECOMMENDED.label]["reference"] == "–"
    assert rows[RECOMMENDED.label]["zero-shot − GRPO"].startswith("+0.7")


# ---------------------------------------------------------------------- diagnostics


def test_the_log_is_kept_as_means_over_ten_steps():
    logged = run(GRPO, 0)
    logged.log = [{"step": s, "entropy": float(s), "lanpo/hit_rate": 1.0} for s in range(1, 16)]
    assert blocks_of(logged) == {
        "step": [10.0, 15.0],
        "entropy": [5.5, 13.0],
        "hit_rate": [1.0, 1.0],
    }


def test_early_and_late_are_forty_steps_or_half_of_a_run():
    logged = run(GRPO, 0)
    logged.log = [{"step": s, "entropy": float(s)} for s in range(1, 201)]
    assert early_and_late(logged, "entropy") == (20.5, 180.5)
    logged.log = logged.log[:4]
    assert early_and_late(logged, "entropy") == (1.5, 3.5)
    logged.log = []
    assert set(diagnostics(logged).values()) == {None}


# ---------------------------------------------------------------------- questions


ARMS = {arm.name: arm for arm in (GRPO, RECOMMENDED)}


def ask(question: Question, **levels: Sequence[float]) -> Answer:
    """Answer about arms with these zero-shot accuracies, seed by seed."""
    study = replace(STUDY, parts=(Part(CONSTANTS_SUBJECT, tuple(ARMS[name] for name in levels)),))
    runs = [
        run(ARMS[name], seed, zero_shot=level)
        for name, by_seed in levels.items()
        for seed, level in enumerate(by_seed)
    ]
    (answer,) = answers([question], Findings(study, {"constants": runs}, 3, "").subjects)
    return answer


BETTER = Question("Is it better?", "recommended", "grpo", final("zero_shot"))


@pytest.mark.parametrize(
    ("recommended", "grpo", "verdict"),
    [
        ([0.9, 0.8, 0.7], [0.2, 0.3, 0.1], "yes"),
        ([0.2, 0.3, 0.1], [0.9, 0.8, 0.7], "no"),
        ([0.50, 0.50, 0.51], [0.50, 0.51, 0.50], "no"),
        ([0.9, 0.1, 0.5], [0.1, 0.9, 0.5], "not decided"),
        ([0.9, 0.8], [0.2, 0.3], "not decided"),
    ],
)
def test_a_question_is_answered_seed_by_seed(
    recommended: list[float], grpo: list[float], verdict: str
):
    answer = ask(BETTER, recommended=recommended, grpo=grpo)
    assert answer.verdict == verdict


def test_a_sentence_names_arms_difference_interval_and_seeds():
    answer = ask(BETTER, recommended=[0.9, 0.8, 0.7], grpo=[0.2, 0.3, 0.1])
    assert answer.sentence == (
        "zero-shot mean@k, held-out: LANPO recommended 0.80 [0.70, 0.90], GRPO 0.20 [0.10, 0.30]; "
        "difference +0.60 [+0.50, +0.70], above 0 on 3 of 3 seeds."
    )
    assert answer.as_json()["by_seed"] == pytest.approx({0: 0.7, 1: 0.5, 2: 0.6})


def test_arms_that_are_absent_are_not_asked_about():
    study = replace(STUDY, parts=(Part(CONSTANTS_SUBJECT, (GRPO, PAPER)),))
    assert answers([BETTER], findings(study=study).subjects) == []


def test_arms_without_a_common_seed_are_not_decided():
    study = replace(STUDY, parts=(Part(CONSTANTS_SUBJECT, (GRPO, RECOMMENDED)),))
    runs = {"constants": [run(GRPO, 0), run(RECOMMENDED, 1)]}
    (answer,) = answers([BETTER], Findings(study, runs, 3, "").subjects)
    assert (answer.verdict, answer.difference) == ("not decided", None)
    assert answer.sentence.endswith("no seed to compare.")


def test_a_bound_is_asked_of_one_arm_from_either_side():
    at_least = Question("?", "grpo", None, final("zero_shot"), bound=0.5, margin=0.0)
    at_most = Question("?", None, "grpo", final("zero_shot"), bound=0.5, margin=0.0)
    high, low = [0.6, 0.7, 0.8], [0.1, 0.2, 0.3]
    assert (ask(at_least, grpo=high).verdict, ask(at_least, grpo=low).verdict) == ("yes", "no")
    assert (ask(at_most, grpo=high).verdict, ask(at_most, grpo=low).verdict) == ("no", "yes")
    both = ask(at_least, grpo=[0.4, 0.6, 0.7])
    assert both.verdict == "not decided"
    assert "at least 0.50: the mean is, and 2 of 3 seeds." in both.sentence
    on_it = ask(at_least, grpo=[0.5, 0.5, 0.5])
    assert (on_it.verdict, "and 3 of 3 seeds" in on_it.sentence) == ("yes", True)
    assert ask(at_least, grpo=[0.9, 0.9]).verdict == "not decided"  # two seeds decide nothing


def test_what_was_not_seen_is_no_target_that_was_met():
    within = Question("?", None, "grpo", tokens_spent_to(0.5, within=4000), bound=4000, margin=0.0)
    assert ask(within, grpo=[0.8] * 3).verdict == "yes"
    assert ask(within, grpo=[0.4] * 3).verdict == "not decided"  # it ended there
    some = ask(within, grpo=[0.8, 0.8, 0.8, 0.4])
    assert (some.verdict, "Of 1 seed it is not known." in some.sentence) == ("not decided", True)
    sooner = replace(within, measure=tokens_spent_to(0.5, within=1000), bound=1000)
    assert ask(sooner, grpo=[0.4] * 3).verdict == "no"
    [after_200] = [q for q in TARGETS.questions if "after 200" in q.text]
    assert ask(after_200, recommended=[0.95] * 3).verdict == "not decided"  # of 40 steps


def test_tokens_are_compared_as_a_share_that_is_saved():
    # 0.5 is reached on the line to the level at 4,000 tokens: after 2,500 and 4,000 of them.
    cost = Question("?", "recommended", "grpo", Cost(0.5, "tokens"), margin=0.05)
    answer = ask(cost, recommended=[0.8] * 3, grpo=[0.5] * 3)
    assert answer.difference is not None
    assert answer.difference.mean == pytest.approx(1 - 2500 / 4000)
    assert answer.verdict == "yes"
    assert "LANPO recommended 2k (3/3); GRPO 4k (3/3)" in answer.sentence
    never = ask(cost, recommended=[0.8] * 3, grpo=[0.1] * 3)
    assert never.difference is not None
    assert never.difference.mean == pytest.approx(1 - 2500 / 4000)
    assert "GRPO – (0/3)" in never.sentence
    assert never.verdict == "yes"
    # Where ours never got there and the other did, the least loss that is known is a small one.
    missed = ask(cost, recommended=[0.8, 0.8, 0.8, 0.49], grpo=[0.5, 0.5, 0.5, 0.5])
    assert missed.difference is not None
    assert missed.difference.interval[0] > 0
    assert missed.verdict == "not decided"
    asked_for_more = replace(cost, bound=0.5)
    assert ask(asked_for_more, recommended=[0.8] * 3, grpo=[0.5] * 3).verdict == "no"


def test_where_nobody_gets_there_nothing_is_known_about_tokens():
    cost = Question("?", "recommended", "grpo", Cost(0.5, "tokens"), margin=0.05)
    nobody = ask(cost, recommended=[0.1] * 3, grpo=[0.1] * 3)
    assert (nobody.verdict, nobody.difference) == ("not decided", None)
    assert nobody.sentence.endswith("on no seed either did.")
    some = ask(cost, recommended=[0.8, 0.8, 0.8, 0.1], grpo=[0.5, 0.5, 0.5, 0.1])
    assert some.difference is not None
    assert (sorted(some.difference.by_seed), some.verdict) == ([0, 1, 2], "yes")


def test_a_bound_on_what_is_saved_is_no_reason_for_a_no():
    # Ours needed as many tokens as GRPO spent in all: how many GRPO needs is not known.
    cost = Question("?", "recommended", "grpo", Cost(0.5, "tokens"), margin=0.05)
    alone = ask(cost, recommended=[0.5] * 3, grpo=[0.1] * 3)
    assert alone.difference is not None
    assert alone.difference.interval == (0.0, 0.0)
    assert alone.verdict == "not decided"
    lost = replace(cost, better="grpo", worse="recommended")
    assert ask(lost, recommended=[0.8] * 3, grpo=[0.1] * 3).verdict == "no"


def test_modes_that_were_not_taught_are_not_asked_about():
    runs = [run(arm, seed, CHAINS) for arm in (GRPO, INTRA) for seed in range(3)]
    study = replace(STUDY, parts=(Part(CHAINS, (GRPO, INTRA)),))
    subjects = Findings(study, {"chains": runs}, 3, "").subjects
    taught, other = final("self_correct"), final("retrieval")
    assert len(answers([Question("?", "intra", "grpo", taught)], subjects)) == 1
    assert answers([Question("?", "intra", "grpo", other)], subjects) == []
    pool = Question("?", "grpo", "grpo", other, worse_measure=final("zero_shot"))
    assert answers([pool], subjects) == []


def test_arms_that_made_the_same_runs_answer_nothing():
    runs = [run(GRPO, seed) for seed in (0, 1, 2)]
    twins = [replace(r, arm="recommended", label="LANPO recommended") for r in runs]
    for r in (*runs, *twins):
        r.pool_digest = f"of seed {r.seed}"
    question = Question("?", "recommended", "grpo", final("zero_shot"))
    found = findings(runs={"constants": [*runs, *twins]})
    [answer] = answers([question], [subject_of(found)])
    assert answer.verdict == "not decided"
    assert "the very same runs" in answer.sentence
    twins[0].pool_digest = "another"
    [answer] = answers([question], [subject_of(found)])
    assert (answer.verdict, "the very same runs" in answer.sentence) == ("no", False)


def test_a_leak_is_compared_with_the_arm_that_does_the_same_without_it():
    [leaks] = [group for group in QUESTIONS if "leaks" in group.title]
    by_name = {arm.name: arm for part in PAPER_STUDY.parts for arm in part.arms}
    for question in leaks.questions:
        assert question.better is not None
        assert question.worse is not None
        assert by_name[question.worse].of == question.better


def test_a_matched_arm_is_compared_with_the_one_it_is_matched_to():
    asked = {
        (question.subject, question.better)
        for group in QUESTIONS
        for question in group.questions
        if question.worse == "grpo_matched"
    }
    assert asked == {
        (part.subject.name, arm.tokens_of)
        for part in PAPER_STUDY.parts
        for arm in part.arms
        if arm.tokens_of
    }


def test_accuracy_with_memory_is_shown_only_where_a_pool_is_read():
    for name, there in (("constants", True), ("chains", False)):
        found = subject_of(findings(), name)
        for title in ("Cost, and greedy accuracy at the last evaluation", "Every seed"):
            assert ("with memory" in grids(found)[title][0]) is there


def test_a_pool_at_inference_is_compared_within_the_arm():
    (question,) = [
        q for group in QUESTIONS for q in group.questions if q.arms == ("grpo",) and q.worse
    ]
    answer = ask(question, grpo=[0.2, 0.2, 0.2])
    assert answer.verdict == "yes"  # made-up retrieval is at 0.40
    assert "retrieval mean@k, held-out against zero-shot" in answer.sentence


def test_there_are_six_groups_and_every_question_has_two_figures_to_compare():
    assert len(QUESTIONS) == 6
    questions = [q for group in (*QUESTIONS, TARGETS) for q in group.questions]
    assert all(q.text.endswith("?") and q.arms for q in questions)
    one_arm = [q for q in questions if len(q.arms) == 1 and q.worse_measure is None]
    assert all(q.bound > 0 and q.margin == 0 for q in one_arm)
    keys = [(q.text, q.arms, q.subject) for q in questions]
    assert len(keys) == len({*keys})


def test_measures_read_what_they_name():
    one = run(INTRA, 0, CHAINS, zero_shot=0.8)
    assert passing("zero_shot").read(one) == pytest.approx(0.85)
    assert final("retrieval", "shifted").read(one) is None
    assert final("zero_shot", "shifted").read(one) == 0.4
    assert greedy("zero-shot", lambda p: p.zero_shot, step=20).read(one) == pytest.approx(0.4)
    assert greedy("zero-shot", lambda p: p.zero_shot, step=25).read(one) is None
    assert tokens_spent_to(0.4, within=1000).read(one) == 2000
    assert tokens_spent_to(0.9, within=3999).read(one) == 4000
    assert tokens_spent_to(0.9, within=4000).read(one) is None


# ---------------------------------------------------------------------- sentences


def test_where_the_paper_falls_behind_the_report_says_so_and_shows_numbers():
    (paragraph,) = paper_paragraphs(findings())
    assert "LANPO paper does worse than GRPO zero-shot" in paragraph
    assert paragraph.endswith("With retrieval it is at 0.97 [0.97, 0.98].")
    for number in ("0.38 of its rollouts were guided", "earned 0.96", "scratch ones 0.12", "nats"):
        assert number in paragraph


def test_a_lower_mean_that_is_not_decided_is_called_that():
    levels = {PAPER.name: (0.5, 0.1, 0.5), GRPO.name: (0.4, 0.6, 0.5)}
    runs = {
        "constants": [
            run(arm, seed, zero_shot=level)
            for arm in (PAPER, GRPO)
            for seed, level in enumerate(levels[arm.name])
        ]
    }
    (paragraph,) = paper_paragraphs(findings(runs=runs))
    assert "LANPO paper is below GRPO zero-shot, though that is not decided: 0" in paragraph


def test_where_it_does_not_nothing_is_explained():
    runs = {"constants": [run(PAPER, 0, zero_shot=0.9), run(GRPO, 0, zero_shot=0.1)]}
    (paragraph,) = paper_paragraphs(findings(runs=runs))
    assert (
        "is level with or above GRPO zero-shot, though that is not decided" in paragraph
    )  # of one seed
    assert "on 1 common seed." in paragraph
    assert "nats" not in paragraph
    assert paper_paragraphs(findings(runs={})) == []


def test_every_report_carries_its_cautions():
    text = " ".join(cautions(findings()))
    assert "7B" in text
    assert "retrieval's merit" in text
    assert re.search(r"On hidden constants: 0\.9\d with retrieval and 0\.0\d zero-shot", text)
    assert "0.06 on hidden constants" in text
    assert "narrow" in text
    assert len(cautions(Findings(STUDY, {}, 3, ""))) == 4


def test_of_your_own_model_no_report_says_that_it_is_small_or_its_problems_made_up():
    [part, _] = STUDY.parts
    subject = replace(part.subject, policy=ModelPolicy("some/model"))
    text = " ".join(
        cautions(Findings(replace(STUDY, parts=(replace(part, subject=subject),)), {}, 1, ""))
    )
    assert "made-up" not in text
    assert "one model on one set of problems" in text


def test_a_constant_guess_is_the_commonest_rule_or_answer():
    assert constant_guess(make_hidden_constants(3)) == 1 / 16
    answers_ = [example.answer for example in make_chains(0).held_out]
    most = max(answers_.count(digit) for digit in {*answers_})
    assert constant_guess(make_chains(0)) == most / len(answers_)


# ---------------------------------------------------------------------- curves


def test_a_band_runs_from_the_least_to_the_most_seed():
    found = band([run(GRPO, 0, zero_shot=0.4), run(GRPO, 1, zero_shot=0.8)], "tokens", zero_shot)
    assert found is not None
    assert found.x == [0, 1000, 2000, 3000, 4000]
    assert found.mean == pytest.approx([0.0, 0.15, 0.3, 0.45, 0.6])
    assert found.low == pytest.approx([0.0, 0.1, 0.2, 0.3, 0.4])
    assert found.high == pytest.approx([0.0, 0.2, 0.4, 0.6, 0.8])


def zero_shot(point: Point) -> float | None:
    return point.zero_shot


def test_runs_of_different_length_are_averaged_as_far_as_all_of_them_go():
    short, long = run(GRPO, 0, zero_shot=0.8), run(GRPO, 1, zero_shot=0.8)
    short.curve = [short.curve[0], replace(short.curve[3], step=25)]
    found = band([short, long], "step", zero_shot)
    assert found is not None
    assert found.x == [0, 10, 20, 25]
    assert found.low[-1] == pytest.approx(0.5)  # the long one, between 0.4 and 0.6
    assert found.high[-1] == pytest.approx(0.6)


def test_a_figure_that_no_run_has_has_no_band():
    assert band([run(GRPO, 0)], "step", lambda point: point.self_corrected) is None


@pytest.mark.parametrize(("variants", "sizes"), [(0, [3]), (5, [8]), (6, [5, 6]), (14, [7, 7, 7])])
def test_many_arms_are_shared_out_with_grpo_and_recommended_in_each(
    variants: int, sizes: list[int]
):
    more = tuple(PAPER.but(f"paper_{i}", f"paper {i}") for i in range(variants))
    study = replace(STUDY, parts=(Part(CONSTANTS_SUBJECT, (*STUDY.parts[0].arms, *more)),))
    groups = grouped(subject_of(findings([0], study=study)))
    assert all({"grpo", "recommended", "paper"} <= {arm.name for arm in arms} for arms in groups)
    shown = {arm.name for arms in groups for arm in arms}
    assert shown == {arm.name for arm in study.parts[0].arms} - {"memory_only"}
    assert max(len(arms) for arms in groups) <= 9
    assert len(groups) == len(sizes)


# ---------------------------------------------------------------------- the two forms


def test_markdown_reads_as_it_was_written():
    text = as_markdown(
        [
            Heading("A", 1),
            Paragraph("a|b *c* <i> max_steps _d_ [0.1, 0.2]"),
            Grid("T", [{"arm": "a|b", "x": "1"}], "note"),
            Bullets((Item("it", "not decided", "detail"),)),
        ]
    )
    assert r"a\|b \*c\* \<i\> max_steps \_d\_ [0.1, 0.2]" in text
    assert "**T**\n\n| arm | x |\n| :-- | --: |\n| a\\|b | 1 |\n\nnote" in text
    assert "- **Not decided.** it  \n  detail" in text


def test_a_page_shows_verdicts_and_folds_long_tables():
    page = as_html(
        [
            Heading("A", 1),
            Heading("B"),
            Bullets((Item("x", "yes"), Item("y", "no"), Item("z", "not decided"))),
            Grid("T", [{"arm": "<b>", "x": "1"}], folded=True),
        ]
    )
    assert "<title>A</title>" in page
    for badge in ('badge yes">yes<', 'badge no">no<', 'badge open">not decided<'):
        assert badge in page
    assert "<details><summary>T</summary>" in page
    assert '<th scope="row">&lt;b&gt;</th>' in page
    assert 'class="text"' not in page
    assert 'class="text"' in as_html([Grid("T", [{"arm": "a", "settings": "x=1, " * 20}])])
