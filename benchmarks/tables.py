"""What RESULTS.md says about each suite."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from benchmarks.markdown import Row, figure, pair, table

LABELS = {
    "query_ms": "one query, BM25 → cosine → filters → 8 experiences",
    "again_ms": "the same query again",
    "lexical_ms": "one query without an embedder",
    "guide_ms": "one rendered guidance",
    "batch_ms": "{batch} queries in one call",
    "lexical_batch_ms": "{batch} queries in one call, without an embedder",
    "guide_batch_ms": "{batch} rendered guidances in one call",
    "add_ms": "add experiences, as many evicted",
    "query_after_add_ms": "the first query after adding",
    "open_ms": "open, in a fresh process",
    "open_and_query_ms": "open and one query",
}
SYSTEMS = {
    "lanpo": "lanpo",
    "lanpo_bm25": "lanpo",
    "chroma": "Chroma",
    "mem0": "mem0",
    "bm25s": "bm25s (numpy)",
    "rank_bm25": "rank_bm25",
}


def pool(suite: Row) -> Iterable[str]:
    rows = suite["rows"]
    yield f"Milliseconds, p50 / p95, against the number of experiences (32 a problem). {_GROWTH}"
    yield ""
    sizes = [f"{row['entries']:,}" for row in rows]
    body = [
        (
            label.format(batch=rows[-1]["batch"]),
            *[pair(row[name]) for row in rows],
            figure(suite["exponents"].get(name)),
        )
        for name, label in LABELS.items()
    ]
    yield from table(("ms", *sizes, "exponent"), body)
    yield ""
    body = [(label, *[figure(read(r)) for r in rows]) for label, read in POOL_FIGURES]
    yield from table(("", *sizes), body)
    yield ""
    yield "Receipts of the last addition: " + "; ".join(_receipts(row) for row in rows) + "."


_GROWTH = (
    "The exponent b is that of the least-squares fit p50 = a · N^b: 1 would be linear. That of "
    "adding counts the sizes at which all 4,096 find a problem."
)
POOL_FIGURES: tuple[tuple[str, Callable[[Row], float]], ...] = (
    ("problems", lambda r: r["problems"]),
    ("experiences in one addition", lambda r: r["added"]),
    ("growth of the pool by all additions", lambda r: r["add_grown"]),
    ("experiences a query found, mean", lambda r: r["experiences_per_query"]),
    ("the same without an embedder", lambda r: r["experiences_per_lexical_query"]),
    ("problems that got guidance, share", lambda r: r["guided_share"]),
    ("RSS after open and queries, MB", lambda r: r["serving_mb"]["now"]),
    ("RSS, peak, MB", lambda r: r["serving_mb"]["peak"]),
    ("disk, MB", lambda r: r["disk_mb"]),
    ("filled in, s", lambda r: r["seconds"]),
)


def _receipts(row: Row) -> str:
    said = ", ".join(f"{n:,} {status}" for status, n in row["add_receipts"].items())
    return f"{said} at {row['entries']:,}"


def bm25(suite: Row) -> Iterable[str]:
    yield (
        "The index alone, in memory; the best 10 of one query. All split words with the same "
        "function: `raw` has it within the clock, `split` was given the words. Adding 256 means "
        "growing for ours and building again for the others, whose words were split before the "
        "clock started. Figures are p50 / p95 in ms, in parentheses how many times as long as ours "
        "by medians. RSS holds the texts, too, and for the others the split words that building "
        "again needs."
    )
    for row in suite["rows"]:
        yield ""
        yield f"### {row['documents']:,} documents"
        yield ""
        yield from _bm25_table(row)
        yield ""
        yield from _bm25_notes(row)


def _bm25_table(row: Row) -> list[str]:
    columns = ("raw_ms", "split_ms", "add_ms", "add_and_query_ms")
    header = ("", "query, raw", "query, split", "add 256", "add 256 and query", "build", "RSS, MB")
    body = [
        (
            SYSTEMS[name],
            *[_with_ratio(row[column], name) for column in columns],
            figure(row["build_ms"][name]),
            figure(row["memory_mb"][name]),
        )
        for name in row["raw_ms"]
    ]
    return table(header, body)


def _with_ratio(summaries: Row, name: str) -> str:
    if name == "lanpo_bm25":
        return pair(summaries[name])
    times = summaries[name]["p50"] / summaries["lanpo_bm25"]["p50"]
    return f"{pair(summaries[name])} ({figure(times)}×)"


def _bm25_notes(row: Row) -> Iterable[str]:
    scores = row["scores"]
    yield (
        f"Scores of {scores['compared']:,} documents for {scores['queries']} queries: greatest "
        f"relative difference from bm25s {figure(scores['same_documents'])}; between the best "
        f"scores of both {figure(scores['best_scores'])}. A word that stands twice in a query "
        f"counts twice for both. numba available to bm25s: {'yes' if row['numba'] else 'no'}. "
        f"Of rank_bm25's best 10, whose idf is another one, {100 * row['overlap_rank_bm25']:.0f} % "
        "are among ours."
    )


def imports(suite: Row) -> Iterable[str]:
    yield from table(
        ("`import lanpo_memory`", "p50", "p95"),
        [
            ("ms", figure(suite["ms"]["p50"]), figure(suite["ms"]["p95"])),
            ("RSS it adds, MB", figure(suite["added_mb"]["p50"]), figure(suite["added_mb"]["p95"])),
            ("peak RSS, MB", figure(suite["peak_mb"]["p50"]), figure(suite["peak_mb"]["p95"])),
        ],
    )
    yield ""
    yield (
        f"{suite['ms']['n']} fresh processes, bytecode compiled. It loads {suite['modules']} "
        f"modules; installed packages among them: {', '.join(suite['loaded'])}. Optional ones: "
        f"{', '.join(suite['optional']) or 'none'}."
    )


def peers(suite: Row) -> Iterable[str]:
    for name, problem in suite["problems"].items():
        yield f"**{name} could not be installed**: {problem}"
        yield ""
    if "installed" not in suite:
        yield "Nothing could be compared: what ours needs could not be installed either."
        return
    yield _PEERS
    for row in suite["rows"]:
        yield ""
        yield f"### {row['entries']:,} entries"
        yield ""
        yield from _peer_table(row)
    yield ""
    yield "### Import and size"
    yield ""
    yield from _sizes(suite)


_PEERS = (
    "The same texts, vectors and lessons for all; every entry has a text of its own. Figures are "
    "p50 / p95 in ms, in parentheses how many times as long as ours by medians. lanpo searches "
    "with BM25 and then by cosine, Chroma by cosine over HNSW, mem0 (`infer=False`, its default "
    "store: qdrant in local mode) by exact cosine. lanpo and Chroma add 256 in one call; mem0 "
    "stores one text after the other, so it is called for each. Opening is given with the first "
    "query, for some load only then. `of the 8 nearest` is the share of the 8 entries with the "
    "greatest cosine that the answers hold."
)
PEER_COLUMNS = ("query_ms", "add_ms", "open_and_query_ms")


def _peer_table(row: Row) -> list[str]:
    ours = row["systems"].get("lanpo", {})
    header = (
        "",
        "entries",
        "query, k = 8",
        "of the 8 nearest",
        "add 256",
        "open and query",
        "fill, s",
        "RSS, MB",
        "disk, MB",
        "kept after kill -9",
    )
    return table(header, [_peer(name, found, ours) for name, found in row["systems"].items()])


def _peer(name: str, found: Row, ours: Row) -> tuple[str, ...]:
    fill = found.get("fill", {})
    kept = found.get("kept_after_kill")
    label = SYSTEMS[name]
    if "error" in found:
        label += f" (stopped: {found['error']})"
    elif not found["complete"]:
        label += " (fill stopped: out of time)"
    times = [_times(found.get(c), ours.get(c) if name != "lanpo" else None) for c in PEER_COLUMNS]
    return (
        label,
        f"{fill['entries']:,}" if fill else "–",
        times[0],
        f"{100 * found['recall']:.0f} %" if "recall" in found else "–",
        times[1],
        times[2],
        figure(fill.get("seconds")),
        figure(found.get("memory_mb", {}).get("peak")),
        figure(fill.get("disk_mb")),
        f"{kept['kept']} of {kept['added']}" if kept else "–",
    )


def _times(theirs: Row | None, ours: Row | None) -> str:
    if theirs is None or ours is None:
        return pair(theirs)
    return f"{pair(theirs)} ({figure(theirs['p50'] / ours['p50'])}×)"


MODULES = {
    "lanpo": "lanpo_memory",
    "chromadb": "chromadb",
    "mem0ai": "mem0",
    "bm25s": "bm25s",
    "rank-bm25": "rank_bm25",
}


def _sizes(suite: Row) -> Iterable[str]:
    imports = suite["imports"]
    if "error" in imports:
        yield f"Imports could not be measured: {imports['error']}"
        yield ""
        imports = {}
    body = []
    for name, size in suite["installed"].items():
        seen = imports.get(MODULES[name], {})
        body.append(
            (
                f"{name} {size.get('version', '')}".rstrip(),
                pair(seen.get("ms")),
                pair(seen.get("peak_mb")),
                f"{size['packages']:,}" if "packages" in size else "not installed",
                figure(size.get("own_mb")),
                figure(size.get("total_mb")),
            )
        )
    header = ("", "import, ms", "peak RSS, MB", "packages", "own, MB", "with all it needs, MB")
    yield from table(header, body)
    yield ""
    tried = _network(suite["rows"])
    yield f"Attempts to reach the network while measuring, all refused: {tried or 'none'}."


def _network(rows: Sequence[Row]) -> str:
    tried: dict[str, set[str]] = {}
    for row in rows:
        for name, found in row["systems"].items():
            tried.setdefault(name, set()).update(found.get("network", []))
    return "; ".join(f"{name}: {', '.join(sorted(to))}" for name, to in tried.items() if to)


WRITERS: dict[str, Callable[[Row], Iterable[str]]] = {
    "pool": pool,
    "bm25": bm25,
    "imports": imports,
    "peers": peers,
}
