"""What models call the parts of an experience, in their languages."""

from __future__ import annotations

import re
import unicodedata
from typing import Literal

__all__ = ["Field", "field_of", "is_experience"]

Field = Literal["thoughts", "principles", "pitfalls"]

# A paragraph a language: English, Chinese (both scripts), German, French, Spanish, Portuguese,
# Italian, Russian, Japanese, Korean. "Reasoning" and "thinking" are missing on purpose: under
# these names models solve the problem.
_NAMES: dict[Field, str] = {
    "thoughts": """
        flow of thought, flow of thoughts, thoughts, thought process, thought flow, train of thought
        思路, 解题思路, 解題思路, 思维流程, 思維流程, 思维过程, 思維過程, 思考流程, 思考过程,
        思考過程, 思维流, 思維流, 思想流程
        Gedankengang, Gedankengänge, Gedankenfluss, Gedankenstrom, Gedanken, Denkprozess, Denkweg
        flux de pensée, fil de pensée, fil de la pensée, fil des pensées, cheminement de pensée,
        pensées
        flujo de pensamiento, flujo de pensamientos, hilo de pensamiento,
        proceso de pensamiento, pensamientos
        fluxo de pensamento, fluxo de pensamentos, linha de pensamento, processo de pensamento,
        pensamentos
        flusso di pensiero, flusso di pensieri, flusso dei pensieri, filo del pensiero,
        processo di pensiero, pensieri
        ход мыслей, поток мыслей, ход мысли, мысли
        思考の流れ, 思考過程, 思考プロセス, 考えの流れ, 考え方
        사고 흐름, 사고의 흐름, 사고 과정
    """,
    "principles": """
        principles, principle, takeaways, takeaway, lessons, lesson, insights, insight, advice,
        tips, tip, heuristics, guidelines, recommendations, best practices, memory items,
        memories, dos
        原则, 原則, 要点, 要點, 教训, 教訓, 经验教训, 經驗教訓, 启示, 啟示, 建议, 建議, 心得,
        收获, 收穫, 技巧
        Prinzipien, Prinzip, Grundsätze, Grundsatz, Leitsätze, Erkenntnisse, Lehren, Lektionen,
        Einsichten, Tipps, Ratschläge, Empfehlungen, Merksätze
        principes, principe, leçons, leçon, enseignements, conseils, astuces, points clés,
        à retenir, points à retenir, idées clés
        principios, principio, lecciones, lección, aprendizajes, enseñanzas, consejos,
        puntos clave, ideas clave
        princípios, lições, lição, aprendizados, aprendizagens, ensinamentos, conselhos, dicas,
        pontos-chave
        principi, lezioni, lezione, insegnamenti, consigli, suggerimenti, punti chiave, spunti
        принципы, принцип, выводы, уроки, урок, советы, рекомендации, правила
        原則, 教訓, 学び, 学んだこと, 要点, ポイント, コツ, アドバイス
        원칙, 교훈, 조언, 요점, 핵심 교훈
    """,
    "pitfalls": """
        pitfalls, pitfall, mistakes, mistake, errors, traps, warnings, caveats, things to avoid,
        what to avoid, donts
        陷阱, 易错点, 易錯點, 错误, 錯誤, 误区, 誤區, 注意事项, 注意事項
        Fallstricke, Fallstrick, Stolperfallen, Stolpersteine, Fallen, Fehler, Fehlerquellen
        pièges, piège, erreurs, écueils
        errores, trampas, escollos, dificultades, peligros
        armadilhas, armadilha, erros, ciladas
        insidie, errori, trappole, tranelli, trabocchetti
        подводные камни, ошибки, ошибка, ловушки
        落とし穴, 間違い, 誤り, ミス, 注意点, 失敗
        함정, 실수, 주의점, 주의사항
    """,
}  # fmt: skip
_EXPERIENCE = """
    experience, experiences, 经验, 經驗, 经验总结, 經驗總結, Erfahrung, Erfahrungen, expérience,
    expériences, experiencia, experiencias, experiência, experiências, esperienza, esperienze,
    опыт, 経験, 경험
"""
_BEFORE = """
    the, my, some, key, main, general, common, important, potential, possible, typical, core,
    frequent, useful, transferable, strategic, 关键, 關鍵, 常见, 常見, 主要, 重要, 通用, 一般,
    wichtige, wichtigste, häufige, typische, mögliche, zentrale, allgemeine, principales,
    principais,
    principaux, principali, ключевые, типичные, частые, основные, общие, распространённые,
    возможные, 重要な, よくある, 一般的な, 主な
"""
_AFTER = """
    learned, learnt, to avoid, to follow, to remember, 总结, 總結, clave, clés, chave, chiave,
    courantes, courants, fréquentes, fréquents, possibles, à éviter, apprises, comunes, frecuentes,
    generales, a evitar, aprendidas, comuns, frequentes, gerais, comuni, frequenti, generali,
    da evitare, apprese
"""
_MAX_NAME_CHARS = 60
_ALTERNATIVES = re.compile(r"\s*[/&+]\s*|\s+(?:and|or|und|et|y|e|и)\s+")


def _bare(name: str) -> str:
    """Letters and digits alone: case, accents and what stands between words say nothing."""
    plain = unicodedata.normalize("NFKD", name.casefold())
    return "".join(char for char in plain if char.isalnum())


def _listed(table: str) -> list[str]:
    return [_bare(name) for name in table.replace("\n", ",").split(",") if name.strip()]


_FIELDS: dict[str, Field] = {
    name: field for field, table in _NAMES.items() for name in _listed(table)
}
_EXPERIENCES = frozenset(_listed(_EXPERIENCE))


def _any(table: str) -> str:
    return "|".join(sorted(_listed(table), key=len, reverse=True))


_AROUND = re.compile(rf"^(?:{_any(_BEFORE)})|(?:\d+|{_any(_AFTER)})$")


def field_of(name: str) -> Field | None:
    """Return which part of an experience a key or a label names, if any.

    >>> field_of("Key_Takeaways"), field_of("häufige Fehler"), field_of("Answer")
    ('principles', 'pitfalls', None)
    """
    if len(name) > _MAX_NAME_CHARS:
        return None
    bare = _bare(name)
    while bare not in _FIELDS:
        bare, cut = _AROUND.subn("", bare, count=1)
        if not cut:
            return _field_of_all(_ALTERNATIVES.split(name))
    return _FIELDS[bare]


def _field_of_all(names: list[str]) -> Field | None:
    """The field of "principles / lessons", where all names mean the same."""
    fields = {field_of(name) for name in names} if len(names) > 1 else set()
    return fields.pop() if len(fields) == 1 else None


def is_experience(name: str) -> bool:
    """Whether a header says that the experience follows.

    >>> is_experience("Erfahrung"), is_experience("Experience Evaluation")
    (True, False)
    """
    return len(name) <= _MAX_NAME_CHARS and _bare(name) in _EXPERIENCES
