"""A study of one's own: an arm that no command has, against GRPO, over one seed.

Runs are processes of their own that import this file, hence the last lines. Four steps show how it
works and decide nothing; give it 200, five seeds and an hour. `lanpo study --list` names those that
are built in.
"""

from pathlib import Path

from lanpo_rl.study.arms import GRPO, RECOMMENDED
from lanpo_rl.study.studies import Part, Study
from lanpo_rl.study.subjects import CONSTANTS_SUBJECT
from lanpo_rl.study.whole import run_study

seldom = RECOMMENDED.but("seldom", "guided one time in four", feedback_ratio=0.25)
part = Part(CONSTANTS_SUBJECT, (GRPO, seldom), steps=4, evaluate_every=4)
study = Study("seldom", "Is seldom enough?", (part,), seeds=1, minutes=1)

if __name__ == "__main__":
    report = run_study(study, Path("seldom"))
    for subject, rows in report.headline.items():
        print(subject)
        for row in rows:
            print(" ", row)
    for run in report.failed:
        print("crashed:", run.label, run.error)
    print("read", report.markdown)
