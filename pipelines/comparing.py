"""Several pipelines over the same questions: what is compared, and its runs, each an ordinary batch.

A variant is a name for settings; a set is a file of questions with the workspace that answers them. Each variant makes
a run of each set, as `ragloom batch` makes it, under the same id: what either answered, the other finds.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from ragloom.components.datasets import Question, read_questions
from ragloom.errors import ConfigError, RagloomError, StoreLocked
from ragloom.pipelines.batch import BatchReport, answer_run, open_batch_pipeline
from ragloom.pipelines.estimating import Estimate, estimate_batch
from ragloom.pipelines.run_identity import batch_id, begin_batch
from ragloom.pipelines.settings import Settings
from ragloom.store import Store

_NAME = re.compile(r"[A-Za-z0-9][\w .+-]{0,39}", re.ASCII)
_SET_KEYS = {"name", "questions", "workspace"}


@dataclass(frozen=True, slots=True)
class QuestionSet:
    """Questions, and the workspace whose documents they are about."""

    name: str
    questions: Path
    workspace: Path


@dataclass(frozen=True, slots=True)
class Plan:
    """What is compared with what.

    Attributes:
        variants: settings by name, in the order they are run; their workspace is that of each set.
        sets: of questions.
        limit: how many questions of each set, the first ones; None for all.
        baseline: the variant that the others are compared with; None for the first that has answers.

    Raises:
        ConfigError: fewer than two variants, no set, a name that is none or stands twice, or no such baseline.
    """

    variants: Mapping[str, Settings]
    sets: tuple[QuestionSet, ...]
    limit: int | None = None
    baseline: str | None = None

    def __post_init__(self) -> None:
        if len(self.variants) < 2:
            raise ConfigError(
                f"a comparison needs two variants at least, got {len(self.variants)}",
                "name several pipelines (--pipelines single,hybrid), or write a table for each in a file (--variants)",
            )
        if not self.sets:
            raise ConfigError("there are no questions to compare by", "name a file of questions")
        names = [each.name for each in self.sets]
        for name in (*self.variants, *names):
            if not _NAME.fullmatch(name):
                raise ConfigError(
                    f"{name[:60]!r} is no name for a variant or a set",
                    "use at most 40 letters, digits, spaces and . _ + -, a letter or digit first",
                )
        if doubled := [name for name in names if names.count(name) > 1]:
            raise ConfigError(f"two sets of questions are named {doubled[0]!r}", "give each its own name")
        if self.baseline is not None and self.baseline not in self.variants:
            raise ConfigError(f"there is no variant {self.baseline!r}", f"there are {', '.join(self.variants)}")

    def asked(self, of: QuestionSet) -> list[Question]:
        """The questions of a set."""
        return read_questions(of.questions)[: self.limit]

    def runs(self) -> Iterator[tuple[str, QuestionSet, Settings]]:
        """Name of the variant, set and settings of each run."""
        for each in self.sets:
            for name, settings in self.variants.items():
                yield name, each, settings.model_copy(update={"workspace": each.workspace})


# ---- How users say it


def plan_of(
    settings: Settings,
    questions: Sequence[Path],
    *,
    pipelines: Sequence[str] = (),
    variants: Path | None = None,
    limit: int | None = None,
    baseline: str | None = None,
) -> Plan:
    """The plan of pipelines that differ in nothing else, or of a file of variants.

    Args:
        settings: what the variants have in common.
        questions: files of questions about one workspace; none where the file of variants has sets.
        pipelines: their names.
        variants: a file for `read_variants`, instead of pipelines.
        limit: see `Plan`.
        baseline: see `Plan`.
    """
    named, sets = (named_pipelines(pipelines, settings), ()) if variants is None else read_variants(variants, settings)
    if sets and questions:
        raise ConfigError(f"there are files of questions, and [[sets]] in {variants}", "name them in one place")
    workspace = next(iter(named.values()), settings).workspace
    return Plan(named, sets or sets_of(questions, workspace), limit, baseline)


def named_pipelines(names: Sequence[str], settings: Settings) -> dict[str, Settings]:
    """A variant for each pipeline, all else as the settings say.

    Raises:
        ConfigError: there is no such pipeline, or one is named twice.
    """
    if doubled := [name for name in names if names.count(name) > 1]:
        raise ConfigError(f"the pipeline {doubled[0]!r} is named twice", "name each once")
    return {name: changed_settings(settings, {"pipeline": name}, f"--pipelines {name}") for name in names}


def sets_of(files: Sequence[Path], workspace: Path) -> tuple[QuestionSet, ...]:
    """A set for each file, all of them about one workspace; named after the file, `questions.json` after its folder."""
    return tuple(
        QuestionSet(
            (file.resolve().parent.name if file.stem == "questions" else file.stem) or "questions", file, workspace
        )
        for file in files
    )


def read_variants(file: Path, settings: Settings) -> tuple[dict[str, Settings], tuple[QuestionSet, ...]]:
    """The variants of a TOML file, and its sets of questions if it has any.

    Settings at the top of the file hold for all variants, each table is a variant with what is different about it, and
    each `[[sets]]` has `questions`, `workspace` and, if it likes, a `name`. What the file says holds, whatever the
    settings are; what it leaves out is as they say. `false` takes a setting back to its default, so that a part that is
    on at the top can be switched off in a variant. Paths are relative to the current folder, as everywhere.

    Raises:
        ConfigError: the file cannot be read, or a value of it cannot work; names the table and the key.
    """
    content = _read_toml(file)
    sets = tuple(_set(file, number, table) for number, table in enumerate(content.pop("sets", []), 1))
    tables = {name: value for name, value in content.items() if isinstance(value, dict)}
    top = {name: value for name, value in content.items() if name not in tables}
    base = changed_settings(settings, top, str(file))
    for name, table in tables.items():
        if "workspace" in table:
            raise ConfigError(
                f"{file}, [{name}], workspace: all variants answer from one workspace",
                "set it at the top of the file, or in each of the [[sets]]",
            )
    return {name: changed_settings(base, table, f"{file}, [{name}]") for name, table in tables.items()}, sets


def _read_toml(file: Path) -> dict[str, Any]:
    try:
        content = tomllib.loads(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"cannot read the variants {file}: {error}") from None
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise ConfigError(f"{file} is not valid TOML: {error}") from None
    sets = content.get("sets", [])
    if not isinstance(sets, list) or not all(isinstance(each, dict) for each in sets):
        raise ConfigError(f"{file}, sets: must be tables of their own", "write [[sets]], with two brackets, for each")
    return content


def _set(file: Path, number: int, table: Mapping[str, Any]) -> QuestionSet:
    place = f"{file}, [[sets]] number {number}"
    if unknown := sorted(table.keys() - _SET_KEYS):
        raise ConfigError(f"{place}, {unknown[0]}: there is no such key", f"there are {', '.join(sorted(_SET_KEYS))}")
    for key in sorted(_SET_KEYS):
        if not isinstance(table.get(key, "" if key == "name" else None), str):
            raise ConfigError(f"{place}, {key}: must be a string, got {table.get(key, 'nothing')!r}")
    [found] = sets_of([Path(table["questions"])], Path(table["workspace"]))
    return QuestionSet(table.get("name", found.name), found.questions, found.workspace)


def changed_settings(settings: Settings, changes: Mapping[str, Any], place: str) -> Settings:
    """The settings with changes, which were made in this place."""
    values = settings.model_dump(exclude_unset=True)
    for name, value in changes.items():
        if value is False:
            values.pop(name, None)
        else:
            values[name] = value
        if name not in Settings.model_fields:
            raise ConfigError(f"{place}, {name}: there is no such setting", "`ragloom batch --help` lists the settings")
    try:
        return Settings(**values)
    except ValidationError as error:
        first = error.errors()[0]
        name = str(first["loc"][0])
        raise ConfigError(
            f"{place}, {name} = {values[name]!r}: {first['msg'].lower()}", "`ragloom batch --help` lists the settings"
        ) from None


# ---- Runs


@dataclass(frozen=True, slots=True)
class VariantRun:
    """A variant's run over a set.

    Attributes:
        variant, set: their names.
        run_id: name of the run in the set's workspace.
        report: how far it came; None where it could not be begun.
        failure: why not.
    """

    variant: str
    set: str
    run_id: str
    report: BatchReport | None
    failure: str = ""


def answer_plan(
    plan: Plan,
    *,
    retry_failed: bool = False,
    progress: bool = True,
    announce: Callable[[str], None] = lambda _: None,
    stop: Callable[[], bool] = lambda: False,
) -> list[VariantRun]:
    """Answer what is pending of every run. One whose pipeline cannot be opened or whose model fails leaves others be.

    Args:
        plan: what to run.
        retry_failed: try failed questions again.
        progress: show a bar for each run.
        announce: called with the name of each run as it begins.
        stop: see `answer_batch`; no further run is begun once it is true.

    Raises:
        ConfigError, InputError, StoreLocked: a run cannot be begun, see `check_plan`.
    """
    check_plan(plan)
    done = []
    for number, (variant, each, settings) in enumerate(plan.runs(), 1):
        if stop():
            break
        announce(f"{variant} on {each.name} ({number} of {len(plan.variants) * len(plan.sets)})")
        done.append(_answered(plan, variant, each, settings, retry_failed=retry_failed, progress=progress, stop=stop))
    return done


def _answered(
    plan: Plan,
    variant: str,
    each: QuestionSet,
    settings: Settings,
    *,
    retry_failed: bool,
    progress: bool,
    stop: Callable[[], bool],
) -> VariantRun:
    with Store.open(each.workspace) as store:
        run_id = begin_batch(settings, plan.asked(each), store)
        if retry_failed:
            store.reset_failed(run_id)
        try:
            report = answer_run(run_id, settings, store, progress=progress, stop=stop)
        except StoreLocked:
            raise
        except RagloomError as error:
            return VariantRun(variant, each.name, run_id, None, str(error))
        return VariantRun(variant, each.name, run_id, report)


def check_plan(plan: Plan) -> None:
    """See that every run can be begun and that the variants differ, before any is paid for.

    Raises:
        ConfigError: two variants are the same run, one has settings that no run can have, or a workspace is missing.
        InputError: the questions of a set cannot be read.
        StoreLocked: another process is writing to a workspace.
    """
    needs_documents = any(settings.pipeline != "closed-book" for settings in plan.variants.values())
    for each in plan.sets:
        asked = plan.asked(each)
        if needs_documents and not each.workspace.exists():
            raise ConfigError(
                f"there is no workspace at {each.workspace}, for the questions {each.name}",
                "run `ragloom index` first, or name another one",
            )
        with Store.open(each.workspace) as store:
            _check_variants(plan, asked, store)


def _check_variants(plan: Plan, asked: Sequence[Question], store: Store) -> None:
    known: dict[str, str] = {}
    for variant, settings in plan.variants.items():
        try:
            run_id = batch_id(settings, asked, store)
        except ConfigError as error:
            raise ConfigError(f"the variant {variant!r} cannot be run: {error.problem}", error.remedy) from None
        first = known.setdefault(run_id, variant)
        if first != variant:
            raise ConfigError(
                f"the variants {first!r} and {variant!r} are the same: no setting that matters differs",
                "leave one of them out, or change what it should differ in",
            )


def estimate_plan(
    plan: Plan, *, sample: int = 10, progress: bool = True, announce: Callable[[str], None] = lambda _: None
) -> list[tuple[str, str, Estimate]]:
    """Answer a sample of each run and predict what the rest will take: variant, set and estimate of each."""
    check_plan(plan)
    found = []
    for variant, each, settings in plan.runs():
        announce(f"{variant} on {each.name}")
        with Store.open(each.workspace) as store:
            run_id = begin_batch(settings, plan.asked(each), store)
            if not store.run(run_id).counts["pending"]:
                continue
            estimate = estimate_batch(
                run_id,
                open_batch_pipeline(run_id, settings, store, progress=progress),
                store,
                sample=sample,
                workers=settings.questions_at_once,
                budget=settings.budget,
                progress=progress,
            )
        found.append((variant, each.name, estimate))
    return found
