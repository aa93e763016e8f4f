"""Entities and statements found by a spaCy pipeline on this machine: no LLM; needs the extra `spacy`."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from importlib.metadata import PackageNotFoundError, entry_points, version
from threading import Lock
from typing import TYPE_CHECKING

from ragloom.components.completions import clean
from ragloom.components.local_models import CATALOGUE, model_file
from ragloom.errors import ConfigError
from ragloom.graph.extraction import Extraction, Triple
from ragloom.types import Chunk

if TYPE_CHECKING:
    from spacy.language import Language
    from spacy.tokens import Doc, Token

NUMBERS = frozenset({"CARDINAL", "MONEY", "ORDINAL", "PERCENT", "QUANTITY", "TIME"})
"""Labels of what is no name: GPT-3.5 takes .03 to .24 of these for names on MuSiQue, people and places .74 to .86."""

_PINNED = "en_core_web_sm"
_RULES = "rules 1"  # to be counted up when what is made of spaCy's analysis changes
_EXTRA = "pip install 'ragloom[spacy]'"

# spaCy documents no thread safety (explosion/spaCy#11904), and Python's lock leaves little to win: two threads with a
# pipeline each took .86 to 1.08 of the time of two threads that share one (benchmarks/spacy_extraction.py).
_one_at_a_time = Lock()


@dataclass(frozen=True, slots=True)
class SpacyExtractor:
    """An Extractor for English that needs no LLM; its model is downloaded and loaded with the first chunk.

    Entities are named entities without article and genitive. Triples are clauses: subject, verb with its preposition,
    object. What stands in them is a named entity or else a noun phrase; he, she, it and they stand for the last name
    that was a subject.

    Attributes:
        model: `en_core_web_sm` is a pinned copy of spaCy's own. Others are packages, as `python -m spacy download`
            installs them; in other languages than English there are entities only.
        ignored: labels of entities to leave out; which there are is up to the model.
    """

    model: str = _PINNED
    ignored: frozenset[str] = NUMBERS

    @property
    def identity(self) -> str:
        """The versions of spaCy, the model and the rules made here, and the labels left out.

        Raises:
            ConfigError: spaCy or the model is not installed.
        """
        parts = ("spacy", _spacy_version(), self.model, _model_version(self.model), _RULES, *sorted(self.ignored))
        return " ".join(parts)

    def __call__(self, chunk: Chunk, /) -> Extraction:
        """The chunk's entities and triples; its title is not read, see `ragloom.graph.naming`.

        Raises:
            ConfigError: spaCy or the model is not installed.
            LLMError: the model could not be downloaded.
        """
        entities: list[str] = []
        triples: list[Triple] = []
        with _one_at_a_time:
            pipeline = _load(self.model)
            for piece in _pieces(clean(chunk.text)):
                with pipeline.memory_zone():  # or every new word would be remembered for good
                    doc = pipeline(piece)
                    entities += _entities(doc, self.ignored).values()
                    triples += _triples(doc, self.ignored)
        return Extraction(tuple(entities), tuple(triples))


# ---- The model


@cache
def _load(model: str) -> Language:
    _model_version(model)  # spaCy would try a name it does not know as a path
    try:
        import spacy

        source = model_file(model).parent if model == _PINNED else model
        return spacy.load(source, exclude=["lemmatizer", "senter"])
    except ImportError as error:
        raise ConfigError(f"the spaCy pipeline {model} needs the package {error.name}", _EXTRA) from None


def _spacy_version() -> str:
    try:
        return version("spacy")
    except PackageNotFoundError:
        raise ConfigError("the spaCy extractor needs the package spacy", _EXTRA) from None


def _model_version(model: str) -> str:
    if model == _PINNED:
        return CATALOGUE[model].wheels[0].version
    for package in entry_points(group="spacy_models", name=model):
        if package.dist is not None:
            return package.dist.version
    raise ConfigError(
        f"there is no spaCy pipeline {model!r}", f"install it (python -m spacy download {model}), or use {_PINNED}"
    )


# ---- The text

_PIECE = re.compile(r".{1,10000}(?:\s|\Z)", re.DOTALL)  # spaCy refuses texts of a million characters
_UNBROKEN = re.compile(r"\S{500}")  # its tokenizer takes a second for 4,000 brackets, 16 for 16,000


def _pieces(text: str) -> list[str]:
    return _PIECE.findall(_UNBROKEN.sub(r"\g<0> ", text))


# ---- Entities

_AROUND_A_NAME = re.compile(r"^(?:the|an?)\s+|\s*['\u2019]s?$")  # no capitals: The Hague, A Beautiful Mind


def _entities(doc: Doc, ignored: frozenset[str]) -> dict[int, str]:
    """The names by their first token."""
    names = {entity.start: _name(entity.text) for entity in doc.ents if entity.label_ not in ignored}
    return {place: name for place, name in names.items() if name}


def _name(text: str) -> str:
    return _AROUND_A_NAME.sub("", " ".join(text.split()))


# ---- Triples

_SUBJECTS = frozenset({"nsubj", "nsubjpass"})
_BEFORE_A_NOUN = frozenset({"DET", "PRON", "PUNCT", "SPACE"})
_PRONOUNS = frozenset({"he", "she", "it", "they", "him", "her", "them"})
_MOST_JOINED = 10  # of "A, B and C": a list of a thousand is no clause, and two of them would make a million triples


def _triples(doc: Doc, ignored: frozenset[str]) -> Iterator[Triple]:
    if doc.lang_ != "en" or not doc.has_annotation("DEP"):  # the labels used here are those of English
        return
    phrases = _phrases(doc, ignored)
    for verb in doc:
        if verb.pos_ in {"VERB", "AUX"}:
            for subject in _subjects(verb):
                for relation, object_ in _objects(verb):
                    if subject.i in phrases and object_.i in phrases and phrases[subject.i] != phrases[object_.i]:
                        yield Triple(phrases[subject.i], relation, phrases[object_.i])


def _phrases(doc: Doc, ignored: frozenset[str]) -> dict[int, str]:
    """What a token stands for in a triple, by its place; those left out stand for nothing."""
    phrases: dict[int, str] = {}
    for chunk in doc.noun_chunks:
        if chunk.root.pos_ != "PRON":
            start = next(token.i for token in chunk if token == chunk.root or token.pos_ not in _BEFORE_A_NOUN)
            phrases[chunk.root.i] = _name(doc[start : chunk.end].text)
    for entity in doc.ents:
        for token in entity:
            phrases.pop(token.i, None)
            if entity.label_ not in ignored:
                phrases[token.i] = _name(entity.text)
    last = ""
    for token in doc:
        if token.lower_ in _PRONOUNS and last:
            phrases[token.i] = last
        elif token.dep_ in _SUBJECTS and token.pos_ == "PROPN":
            last = phrases.get(token.i, last)
    return {place: phrase for place, phrase in phrases.items() if phrase}


def _subjects(verb: Token) -> list[Token]:
    """The verb's own, those of the verb it follows, or the noun that its clause describes."""
    while True:
        own = [joined for child in verb.children if child.dep_ in _SUBJECTS for joined in _joined(child)]
        if verb.dep_ in {"acl", "relcl"} and all(subject.tag_ in {"WDT", "WP"} for subject in own):
            return [verb.head]
        if own or verb.dep_ not in {"advcl", "conj", "xcomp"}:
            return own
        verb = verb.head


def _objects(verb: Token) -> Iterator[tuple[str, Token]]:
    """With the words of the relation."""
    words = [child for child in verb.children if child.dep_ in {"neg", "prt"}] + [verb]
    for child in verb.children:
        if child.dep_ in {"attr", "dobj", "oprd"}:
            for joined in _joined(child):
                yield _relation(words), joined
        elif child.dep_ in {"agent", "prep"}:
            for grandchild in child.children:
                if grandchild.dep_ == "pobj":
                    for joined in _joined(grandchild):
                        yield _relation([*words, child]), joined


def _joined(noun: Token) -> tuple[Token, ...]:
    return (noun, *noun.conjuncts[: _MOST_JOINED - 1])


def _relation(words: list[Token]) -> str:
    return " ".join(token.text for token in sorted(words, key=lambda token: token.i))
