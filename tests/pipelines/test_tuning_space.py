"""A space says what is tuned, or what is wrong with it and where."""

import tomllib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragloom.errors import ConfigError
from ragloom.pipelines.settings import Settings
from ragloom.pipelines.tuning_report import _toml
from ragloom.pipelines.tuning_space import Choice, Range, Space, read_space


def space_of(folder: Path, text: str, settings: Settings | None = None) -> Space:
    file = folder / "space.toml"
    file.write_text(text, encoding="utf-8")
    return read_space(file, settings or Settings())


def test_lists_and_ranges_are_searched_and_the_top_holds_for_all(tmp_path: Path):
    space = space_of(
        tmp_path,
        'pipeline = "graph"\n[space]\nk = [2, 5, 10]\nsteps = {from = 1, to = 4}\nselect = [false, "mmr"]\n',
        Settings(pipeline="single", model="mine"),
    )
    assert (space.base.pipeline, space.base.model) == ("graph", "mine")
    assert space.parameters == {"k": Choice((2, 5, 10)), "steps": Range(1, 4), "select": Choice((False, "mmr"))}
    assert space.size == 24
    changed = space.settings({"k": 10, "steps": 3, "select": False})
    assert (changed.k, changed.steps, changed.select, changed.pipeline) == (10, 3, None, "graph")


def test_a_range_of_fractions_has_no_end_and_one_of_whole_numbers_may_be_long(tmp_path: Path):
    assert space_of(tmp_path, "[space]\nretrieval_rate = {from = 0.1, to = 0.9}").size is None
    assert space_of(tmp_path, "[space]\nk = {from = 1, to = 1000000000000}").size == 10**12


def test_the_base_is_found_in_the_space(tmp_path: Path):
    text = "[space]\nk = {from = 1, to = 9}\nselect = [false, 'mmr']"
    assert space_of(tmp_path, text).of_base() == {"k": 5, "select": False}
    assert space_of(tmp_path, f"k = 10\n{text}").of_base() is None


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("k = 3", r"has no table \[space\]"),
        ("[space]", r"has no table \[space\]"),
        ("space = 3", r"has no table \[space\]"),
        ("[space]\nkk = [1, 2]", r"\[space\], kk: there is no such setting"),
        ("kk = 1\n[space]\nk = [1, 2]", r"space.toml, kk: there is no such setting"),
        ("[space]\nk = [1, 0]", r"\[space\], k = 0: input should be greater than or equal to 1"),
        ("[space]\nk = {from = 0, to = 4}", r"\[space\], k = 0: "),
        ("[space]\nk = {from = 1.0, to = 4.0}", r"\[space\], k = 2\.85.*: input should be a valid integer"),
        ("[space]\nretrieval_rate = {from = 0.5, to = 1.5}", r"\[space\], retrieval_rate = 1\.5: "),
        ("[space]\npipeline = ['single', 'best']", r"\[space\], pipeline = 'best': "),
        ("[space]\nk = 3", r"\[space\], k: must be a list of values or a range, got 3"),
        ("[space]\nk = []", r"\[space\], k: needs two different values"),
        ("[space]\nk = [3]", r"\[space\], k: needs two different values"),
        ("[space]\nk = [3, 4, 3]", r"\[space\], k: needs two different values"),
        ("[space]\nk = [3, [4]]", r"\[space\], k: \[4\] is no value"),
        ("[space]\nk = [3, true]", r"\[space\], k: True is no value"),
        ("[space]\nk = {from = 1}", r"\[space\], k: a range has the keys from and to, got from"),
        ("[space]\nk = {from = 1, to = 3, by = 1}", r"\[space\], k: a range has the keys"),
        ("[space]\nk = {from = 4, to = 4}", r"\[space\], k: a range goes from the smaller number"),
        ("[space]\nk = {from = 'a', to = 4}", r"\[space\], k: a range is from a number to a number, got 'a'"),
        ("[space]\nretrieval_rate = {from = 0.1, to = inf}", r"a range is from a number to a number, got inf"),
        ("[space]\nworkspace = ['a', 'b']", r"\[space\], workspace: it changes no answer"),
        ("[space]\nmax_cost = [1, 2]", r"\[space\], max_cost: it changes no answer"),
        ("[space]\nk = [1, 2]\n[graph]\nk = 3", r"\[graph\]: there is no such table"),
        ("[[space]]\nk = [1, 2]", r"has no table \[space\]"),
        ("[space", "is not valid TOML"),
    ],
)
def test_what_is_wrong_is_named_with_its_place(tmp_path: Path, text: str, message: str):
    with pytest.raises(ConfigError, match=message):
        space_of(tmp_path, text)


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path):
    with pytest.raises(ConfigError, match=r"cannot read the space .*missing"):
        read_space(tmp_path / "missing.toml", Settings())


values = st.one_of(
    st.text(st.characters(exclude_categories=["Cs"])),
    st.integers(-(2**53), 2**53),
    st.booleans(),
    st.floats(allow_nan=False, allow_infinity=False),
)


@given(st.dictionaries(st.from_regex("[a-z_]{1,9}", fullmatch=True), values, max_size=4))
def test_settings_are_written_as_toml_reads_them(settings: dict[str, object]):
    assert tomllib.loads(_toml(settings)) == settings
