"""Rules of gates: from what signals measured to a decision, without a model."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass
from math import isnan, nan
from typing import Literal

from ragloom.components.gating import Decision, Mode


@dataclass(frozen=True)
class Fixed:
    """The same for every question: the baselines never (`none`) and always (`single`, `iterative`)."""

    mode: Mode
    reason: str = "fixed"
    features: tuple[str, ...] = ()

    def __call__(self, question: str, features: Mapping[str, float], /) -> Decision:
        """The mode."""
        return Decision(self.mode, reason=self.reason)


@dataclass(frozen=True)
class AtRandom:
    """Retrieves for a share of the questions, drawn by hash: the same question gets the same decision.

    Args:
        rate: share from 0 to 1.
        seed: other seeds draw other questions.
        mode: what is done for those that are drawn.
    """

    rate: float
    seed: int = 0
    mode: Mode = "single"
    features: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not 0 <= self.rate <= 1:
            raise ValueError(f"rate must be from 0 to 1, got {self.rate}")

    def __call__(self, question: str, features: Mapping[str, float], /) -> Decision:
        """The mode or `none`."""
        drawn = random.Random(f"{self.seed} {question}").random()
        return Decision(self.mode if drawn < self.rate else "none", 1 - drawn, "drawn at random")


@dataclass(frozen=True)
class Threshold:
    """Retrieves where one feature lies above a bound, or, with `side="below"`, below it; and where it is unknown.

    Args:
        feature: its name.
        bound: not itself retrieved for.
        side: on which side of the bound retrieval is wanted.
        mode: what is done there.
    """

    feature: str
    bound: float
    side: Literal["above", "below"] = "above"
    mode: Mode = "single"

    @property
    def features(self) -> tuple[str, ...]:
        """The one feature."""
        return (self.feature,)

    def __call__(self, question: str, features: Mapping[str, float], /) -> Decision:
        """The mode or `none`."""
        value = features.get(self.feature, nan)
        if isnan(value):
            return Decision(self.mode, nan, f"{self.feature} is unknown")
        fires = value > self.bound if self.side == "above" else value < self.bound
        compared = f"{self.feature} {value:.4g} is {'' if fires else 'not '}{self.side} {self.bound:.4g}"
        score = value if self.side == "above" else -value
        return Decision(self.mode if fires else "none", score, compared)
