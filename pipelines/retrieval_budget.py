"""Retrieve for a fixed share of a batch: for the questions that a gate is most for retrieving for.

A gate's bound gives a retrieval rate only on average. Where a batch is known whole, its questions can be ranked by the
gate's scores instead, and the rate is met exactly.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from math import isnan

from ragloom.components.gating import MODES, Decision, Mode
from ragloom.errors import InputError

_ROUNDING = 1e-9  # .29 * 100 is 28.999999999999996


def plan(decisions: Mapping[str, Decision], rate: float, *, otherwise: Mode = "single") -> dict[str, Mode]:
    """The mode of each question when floor(rate * n) of the n questions are retrieved for.

    Those with the highest scores are, unknown scores before all others; ties go by question id, so that the plan does
    not depend on the order of the questions, and what is retrieved for at one rate is so at every higher one.

    A question that the gate would have answered without passages gets the retrieving mode of the highest utility where
    the decision has utilities, and else the mode that is given.

    Args:
        decisions: the gate's, by question id.
        rate: share of the questions, from 0 to 1.
        otherwise: the mode of questions that are retrieved for although neither the gate nor its utilities name one.

    Raises:
        ValueError: the rate is not from 0 to 1.
    """
    if not 0 <= rate <= 1:
        raise ValueError(f"rate must be from 0 to 1, got {rate}")
    places = int(rate * len(decisions) + _ROUNDING)
    chosen = set(sorted(decisions, key=lambda question_id: _place(question_id, decisions[question_id]))[:places])
    return {
        question_id: _retrieving_mode(decision, otherwise) if question_id in chosen else "none"
        for question_id, decision in decisions.items()
    }


@dataclass(frozen=True)
class Planned:
    """A Gate that decides as a plan says; see `planned`.

    Args:
        decisions: by question text.
    """

    decisions: Mapping[str, Decision]

    def __call__(self, question: str, /) -> Decision:
        """The decision.

        Raises:
            InputError: the question was not planned.
        """
        if question not in self.decisions:
            raise InputError(
                f"the retrieval plan has no question {question[:80]!r}", "plan the whole batch before answering it"
            )
        return self.decisions[question]


def planned(
    questions: Mapping[str, str], decisions: Mapping[str, Decision], rate: float, *, otherwise: Mode = "single"
) -> Planned:
    """A Gate that retrieves for a fixed share of a batch, and keeps what the gate's decisions hold: scores, answers.

    Questions of the same text cannot be told apart by a gate: they are retrieved for only where all of them have a
    place. So the share can be a little smaller where a text stands more than once, and is never larger.

    Args:
        questions: text by question id.
        decisions: the gate's, by question id.
        rate: share of the questions, from 0 to 1.
        otherwise: see `plan`.

    Raises:
        InputError: a question has no decision.
    """
    if missing := [question_id for question_id in questions if question_id not in decisions]:
        raise InputError(f"question {missing[0]} has no decision", "let the gate decide on the whole batch first")
    modes = plan({question_id: decisions[question_id] for question_id in questions}, rate, otherwise=otherwise)
    by_text: dict[str, Decision] = {}
    for question_id, text in sorted(questions.items()):
        if text not in by_text or modes[question_id] == "none":
            by_text[text] = _as_planned(decisions[question_id], modes[question_id], rate)
    return Planned(by_text)


def _place(question_id: str, decision: Decision) -> tuple[bool, float, str]:
    known = not isnan(decision.score)
    return known, -decision.score if known else 0.0, question_id


def _retrieving_mode(decision: Decision, otherwise: Mode) -> Mode:
    if decision.mode != "none":
        return decision.mode
    retrieving = [mode for mode in MODES[1:] if mode in decision.utilities]  # of equally worthy ones the cheapest
    return max(retrieving, key=decision.utilities.__getitem__, default=otherwise)


def _as_planned(decision: Decision, mode: Mode, rate: float) -> Decision:
    kept = "within" if mode != "none" else "beyond"
    reason = f"{kept} the {rate:.4g} of the batch to retrieve for"
    return replace(decision, mode=mode, reason=f"{reason}; the gate: {decision.reason or decision.mode}")
