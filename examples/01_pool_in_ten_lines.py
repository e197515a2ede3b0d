"""A pool in ten lines: no model, no key, no network."""

from lanpo_memory import Experience, Guide, Problem, open_pool

with open_pool("memory:") as pool:
    source = Problem(text="A train covers 120 km in 2 hours. How far does it get in 5 hours?")
    lesson = Experience(
        problem=source,
        principles=("Find the rate for one unit first, then scale it.",),
        pitfalls=("Adding the difference in hours to the distance.",),
    )
    print([receipt.status for receipt in pool.add([lesson])])

    mine = Problem(text="A train covers 90 km in 3 hours. How far does it get in 7 hours?")
    for hit in pool.retrieve([mine])[0]:
        print(f"{hit.similarity:.2f}", *hit.experience.principles, *hit.experience.pitfalls)

    # The same memory as a prompt: guidance goes in front of the problem.
    guidance = Guide(pool, gamma=0.2).inter([mine])[0].guidance
    print(guidance.apply(mine.text)[:400])
