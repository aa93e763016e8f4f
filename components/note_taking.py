"""Notes written by a model, and checked: no claim enters one whose words stand in no passage.

The information collector and the memory reviewer of Adaptive-Note (arXiv:2410.08821), with claims and their quotes in
the place of running text. Replies are lines rather than JSON: small models keep to them, and a reply that breaks off or
strays is of use up to there.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import KW_ONLY, dataclass, field, replace
from functools import cache
from pathlib import Path

from ragloom.components.completions import estimate_tokens
from ragloom.components.note_claims import MOST_QUERIES, Claim, Draft, Note, Plan
from ragloom.components.passage_prompts import Prompt
from ragloom.components.quotes import find_quote
from ragloom.components.tokenizing import Tokenizer
from ragloom.errors import BadReply
from ragloom.run import span
from ragloom.types import LLM, Chunk, Hit, Options, Reply

_CUT_OFF = "the reply was cut off at max_tokens"
_FENCES = re.compile(r"^\s*```.*$", re.MULTILINE)
_NUMBER = re.compile(r"^\W*?[\[(](\d{1,4})[\])]\s*[.:]?\s*")
_ARROW = re.compile(r"\s*(?:-+>|=+>|\u2192|\u21d2)\s*")
_CONTRADICTION = re.compile(r"\s*\(?\s*contradict\w*\s*([\[(])\s*(\d{1,4})\s*[\])]\s*\)?", re.IGNORECASE)
_QUOTED = re.compile(r'["\u201c\u201e\u00ab](.+)["\u201d\u201f\u00bb]')
_QUOTE_MARK = re.compile(r'["\u201c-\u201f\u00ab\u00bb]')
_EMPHASIS = " \t*`-"
_NAME = re.compile(r"\b(?:[^\W\d_]*[A-Z\u00c0-\u00de]\w*|\w*\d\w*)")
_LABEL = re.compile(r"^\W*(?:\d+\W+)?(missing|search|query)\W*:[\s*]*", re.IGNORECASE)
_VERDICT = re.compile(
    r"\b(?:(A(?! (?!and\b|or\b)[a-z])|B)|(true|yes)|(false|no|neither|same|equal(?:ly)?|tie))\b"  # but not the article
)
_WINNER = re.compile(r"\b([AB])\W+(?:is|serves|wins|answers)\b(?:(?!\bnot\b)[^.?!\n]){0,40}?\bbetter\b")
_SHORTEST = 8  # letters and digits of a quote that says something
_words = Tokenizer()


@cache
def _prompt(name: str, phrase: str, *slots: str) -> Prompt:
    return Prompt.load(Path(__file__).parent / "prompts" / f"note-{name}.txt", phrase=phrase, slots=slots)


@dataclass(frozen=True)
class LLMNoteTaker:
    """A NoteTaker that asks a model.

    `begin`, `plan` and `refine` make one call each, `better` two: the candidate is shown in either place, and is better
    only where both verdicts say so, since models favour a place. Each is a span named after it.

    A claim enters a note where its quote stands in the passage (see `find_quote`; in another one that was shown, if the
    model mixed up the numbers), and its words come from the passage: where it holds a name or number that neither
    passage nor question has, the quote itself takes its place. Claims whose quotes are known already are left out.
    Where claims contradict each other, both stay, and each names the other's passage.

    A reply without usable lines is a failure, and so is one that was cut off; only where there is no note yet, the
    whole lines of that one are taken. The span says `cut_off`.

    Args:
        llm: the model.
        context_tokens: most tokens of a prompt, the reply not counted; None for no limit. Passages that do not fit are
            left out, the last ones first, and the span says how many were `dropped`.
        note_tokens: most tokens of a note in a prompt; a quarter of `context_tokens` where that is less. Of a
            longer note the claims that share the fewest words with the question are left out, of equal ones the oldest
            first; the note itself keeps them, and the span says how many were `claims_left_out`.
        count_tokens: how they are counted.
        max_tokens: longest reply of `begin` and `refine`.
        options: further options of the calls.
    """

    llm: LLM
    _: KW_ONLY
    context_tokens: int | None = None
    note_tokens: int = 512
    count_tokens: Callable[[str], int] = estimate_tokens
    max_tokens: int = 256
    options: Options = field(default_factory=lambda: Options(temperature=0.0))

    def __post_init__(self) -> None:
        for name in ("note_tokens", "max_tokens"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")

    def begin(self, question: str, hits: Sequence[Hit], /) -> Draft:
        """The first note.

        Raises:
            InputError: the question does not fit `context_tokens`.
            ConfigError: no passage fits `context_tokens`.
        """
        return self._write(_prompt("begin", "nothing", "passages"), question, (), hits, 0)

    def refine(self, question: str, note: Note, hits: Sequence[Hit], step: int, /) -> Draft:
        """The note with the verified claims of new passages at its end. Raises what `begin` raises."""
        return self._write(_prompt("refine", "nothing", "passages", "note"), question, note, hits, step)

    def plan(self, question: str, note: Note, asked: Sequence[str], /) -> Plan:
        """What is missing, and at most two queries, as the model wrote them."""
        prompt = _prompt("plan", "complete", "note", "asked")
        with span("plan", claims=len(note)) as attributes:
            values = {"note": self._shown(question, note, attributes), "asked": "\n".join(asked) or "none"}
            reply = self._ask(prompt, question, (), 96, attributes, **values)
            if reply is None:
                return Plan(failure="the model gave no reply")
            plan = _read_plan(reply.text, prompt.phrase)
            attributes |= {"missing": list(plan.missing), "queries": list(plan.queries), "complete": plan.complete}
            return plan

    def better(self, question: str, note: Note, candidate: Note, /) -> bool | None:
        """Whether the candidate is found better in both orders; None where a reply holds no verdict."""
        with span("compare") as attributes:
            old, new = self._shown(question, note, attributes), self._shown(question, candidate, attributes)
            verdicts = [self._verdict(question, old, new, attributes), self._verdict(question, new, old, attributes)]
            attributes["verdicts"] = verdicts
            return None if "" in verdicts else verdicts == ["B", "A"]

    def _verdict(self, question: str, first: str, second: str, attributes: dict[str, object]) -> str:
        prompt = _prompt("compare", "neither", "first", "second")
        reply = self._ask(prompt, question, (), 16, attributes, first=first, second=second)
        return "" if reply is None else read_verdict(reply.text)

    def _write(self, prompt: Prompt, question: str, note: Note, hits: Sequence[Hit], step: int) -> Draft:
        with span("write note", step=step) as attributes:
            values = {"note": self._shown(question, note, attributes)} if "note" in prompt.user.slots else {}
            chunks = [hit.chunk for hit in hits]
            fitting = prompt.fitting(
                question,
                chunks,
                context_tokens=self.context_tokens,
                count_tokens=self.count_tokens,
                best_first=None,
                **values,
            )
            attributes |= {"passages": fitting, "dropped": len(chunks) - fitting}
            reply = self._ask(prompt, question, chunks[:fitting], self.max_tokens, attributes, **values)
            if reply is None:
                return Draft(note, failure="the model gave no reply")
            if reply.finish == "length" and note:
                return Draft(note, failure=_CUT_OFF)
            lines = list(_lines(reply))
            if not lines and not _says(prompt.phrase, reply.text):
                return Draft(note, failure=_CUT_OFF if reply.finish == "length" else "the reply has no line of a note")
            draft = _grown(note, lines, question, chunks[:fitting], step)
            attributes |= {"claims": len(draft.note) - len(note), "unsupported": draft.unsupported}
            return draft

    def _ask(
        self,
        prompt: Prompt,
        question: str,
        chunks: Sequence[Chunk],
        max_tokens: int,
        attributes: dict[str, object],
        **values: str,
    ) -> Reply | None:
        """The reply; None where the model gave none that could be read."""
        try:
            reply = self.llm(
                prompt.messages(question, chunks, **values), **(Options(max_tokens=max_tokens) | self.options)
            )
        except BadReply:  # the span of the call says so
            return None
        if reply.finish == "length":
            attributes["cut_off"] = True
        return reply

    def _shown(self, question: str, note: Note, attributes: dict[str, object]) -> str:
        """The note as it stands in a prompt, shortened where it must be; numbers are those of the whole note."""
        lines = [f"({number}) {' '.join(claim.text.split())}" for number, claim in enumerate(note, 1)]
        wanted = set(_words(question))
        rank = sorted(range(len(note)), key=lambda place: (-len(wanted & set(_words(note[place].text))), -place))
        sizes = [self.count_tokens(line + "\n") for line in lines]
        kept: set[int] = set()
        room = self.note_tokens if self.context_tokens is None else min(self.note_tokens, self.context_tokens // 4)
        for place in rank:
            if sizes[place] > room:
                break
            kept.add(place)
            room -= sizes[place]
        if len(kept) < len(note):
            attributes["claims_left_out"] = len(note) - len(kept)
        return "\n".join(line for place, line in enumerate(lines) if place in kept) or "none"


# ---- What a reply says


@dataclass(frozen=True, slots=True)
class _Line:
    """One line of a reply: a claim as it was written. Numbers count from 1, 0 is none.

    Attributes:
        passage: that it says it quotes.
        quote: the words.
        fact: the same in words of its own, or empty.
        other_passage, known: what it says it contradicts: all of a passage, or a claim of the note.
    """

    passage: int
    quote: str
    fact: str
    other_passage: int = 0
    known: int = 0


def _lines(reply: Reply) -> Iterator[_Line]:
    text = reply.text.rpartition("\n")[0] if reply.finish == "length" else reply.text
    for written in _FENCES.sub("", text).splitlines():
        number = _NUMBER.match(written)
        if number is None and not _ARROW.search(written) and not _QUOTED.search(written):
            continue  # talk
        rest = written[number.end() :] if number else written
        against = _CONTRADICTION.search(rest)
        bracket, other = (against[1], int(against[2])) if against else ("", 0)
        left, arrow, right = _parted(_CONTRADICTION.sub("", rest))
        quoted = None if arrow else _QUOTED.search(left)
        if quoted and 2 * len(quoted[1]) < len(left):
            quoted = None  # the marks stand around a title in the quote
        quote = quoted[1] if quoted else _bare(left)
        if quote:
            yield _Line(
                int(number[1]) if number else 0,
                quote,
                _bare(right),
                other_passage=other if bracket == "[" else 0,
                known=other if bracket == "(" else 0,
            )


def _bare(text: str) -> str:
    """The text without marks of emphasis around it, and without quotation marks if it is all in them."""
    bare = text.strip(_EMPHASIS)
    quoted = _QUOTED.fullmatch(bare)
    return quoted[1].strip() if quoted and not _QUOTE_MARK.search(quoted[1]) else bare


def _parted(text: str) -> tuple[str, bool, str]:
    arrow = _ARROW.search(text)
    return (text, False, "") if arrow is None else (text[: arrow.start()], True, text[arrow.end() :])


def _grown(note: Note, lines: Sequence[_Line], question: str, chunks: Sequence[Chunk], step: int) -> Draft:
    """The note with the verified claims of the lines."""
    grown, unsupported = note, 0
    for line in lines:
        claim = _verified(line, question, chunks, step)
        if claim is None:
            unsupported += 1
        elif not any(_within(claim, known) for known in grown):
            grown = _with(grown, claim, _contradicted(line, grown, chunks))
    return Draft(grown, unsupported)


def _verified(line: _Line, question: str, chunks: Sequence[Chunk], step: int) -> Claim | None:
    """The claim with the place of its words; None where they stand in no passage, or are too few to say anything."""
    if sum(map(str.isalnum, line.quote)) < _SHORTEST or not _words(line.quote):
        return None
    cited = [chunks[line.passage - 1]] if 1 <= line.passage <= len(chunks) else []
    for chunk in [*cited, *(chunk for chunk in chunks if chunk not in cited)]:
        place = find_quote(line.quote, chunk.text)
        if place is not None:
            return Claim(_fact(line.fact, chunk, place, question), chunk.id, *place, step)
    return None


def _fact(written: str, chunk: Chunk, place: tuple[int, int], question: str) -> str:
    """The fact as it was written, or the quote under its title where that says what the passage does not."""
    told = set(_words(f"{chunk.title} {chunk.text} {question}"))
    if len(_words(written)) > 1 and told.issuperset(_words(" ".join(_NAME.findall(written)))):
        return written
    quote = " ".join(chunk.text[slice(*place)].split())
    named = set(_words(quote)) & set(_words(chunk.title))
    return quote if named or not chunk.title else f"{chunk.title}: {quote}"


def _within(claim: Claim, known: Claim) -> bool:
    return claim.chunk_id == known.chunk_id and known.start <= claim.start and claim.end <= known.end


def _contradicted(line: _Line, note: Note, chunks: Sequence[Chunk]) -> set[Claim]:
    """The claims of the note that a line says it contradicts."""
    if 1 <= line.known <= len(note):
        return {note[line.known - 1]}
    if 1 <= line.other_passage <= len(chunks):
        return {claim for claim in note if claim.chunk_id == chunks[line.other_passage - 1].id}
    return set()


def _with(note: Note, claim: Claim, contradicted: set[Claim]) -> Note:
    """The note with the claim at its end; it and those it contradicts name each other's passages."""
    others = {known.chunk_id for known in contradicted} - {claim.chunk_id}
    marked = (
        replace(known, conflicts=_joined(known.conflicts, claim.chunk_id))
        if known in contradicted and known.chunk_id in others
        else known
        for known in note
    )
    return (*marked, replace(claim, conflicts=tuple(sorted(others))))


def _joined(ids: tuple[str, ...], added: str) -> tuple[str, ...]:
    return ids if added in ids else (*ids, added)


def _read_plan(text: str, phrase: str) -> Plan:
    """The lines of a plan: gaps and queries on either side of an arrow, or on labelled lines of their own."""
    lines = [line for line in _FENCES.sub("", text).splitlines() if re.search(r"\w", line)]
    missing, queries = [], []
    for line in lines:
        label = _LABEL.match(line)
        left, arrow, right = _parted(line[label.end() :] if label else line)
        if label and not arrow and label[1].casefold() != "missing":
            queries.append(left)
        elif label or arrow or len(lines) == 1:  # several lines without a mark are talk
            missing.append(left)
            queries.append(_LABEL.sub("", right))
    gaps, wanted = _each(missing, phrase), _each(queries, phrase)
    if gaps or wanted:
        return Plan(tuple(gaps), tuple(wanted or gaps)[:MOST_QUERIES])  # what is missing can be searched for
    complete = _says(phrase, text)
    return Plan(complete=complete, failure="" if complete else "the reply has no line of a plan")


def _each(texts: Sequence[str], phrase: str) -> dict[str, None]:
    """The texts without marks around them, each once, those left out that have no word or say that there is nothing."""
    stripped = map(_bare, texts)
    empty = re.compile(rf"\W*(?:{re.escape(phrase)}|nothing|none|n/a)\b[\s\w]{{0,20}}\W*", re.IGNORECASE)
    return dict.fromkeys(text for text in stripped if re.search(r"\w", text) and not empty.fullmatch(text))


def _says(phrase: str, text: str) -> bool:
    return phrase.casefold().strip(" .") in text.casefold()


def read_verdict(text: str) -> str:
    """What a comparison says: `A`, `B`, `neither`, or nothing where it cannot be told.

    True and yes stand for B, the note that is asked about; false and no for it not being better.

    >>> [read_verdict(said) for said in ("B", '{"status": true}', "Note A is better than B.", "A better one?")]
    ['B', 'B', 'A', '']
    """
    winner = _WINNER.search(text)
    if winner:
        return winner[1]
    said = {letter or ("B" if yes else "neither") for letter, yes, _ in _VERDICT.findall(_lowered(text))}
    return said.pop() if len(said) == 1 else ""


def _lowered(text: str) -> str:
    """The text in lower case but for the letters A and B that stand alone."""
    return re.sub(r"\w{2,}", lambda word: word[0].lower(), text)
