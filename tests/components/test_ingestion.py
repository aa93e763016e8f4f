import json
import logging
import os
import socket
from pathlib import Path

import pytest
from office_files import encrypted_pdf, pdf, write_docx

from ragloom.components.ingestion import Skipped, read_documents
from ragloom.errors import InputError
from ragloom.types import Document


def write(path: Path, content: str | bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode("utf-8", "surrogatepass") if isinstance(content, str) else content)
    return path


def jsonl(path: Path, *records: object) -> Path:
    return write(path, "".join(json.dumps(record) + "\n" for record in records))


def read_one(path: Path) -> Document:
    [document] = read_documents(path)
    return document


def texts(path: Path) -> list[str]:
    return [document.text for document in read_documents(path)]


# ---- Which files


def test_a_folder_is_read_with_those_below_it_and_without_hidden_files(tmp_path: Path) -> None:
    for name in ("b.txt", "a/c.md", "a/.hidden.txt", ".git/d.txt", "a/e/F.TXT"):
        write(tmp_path / name, f"text of {name}")
    assert [document.source for document in read_documents(tmp_path)] == ["b.txt", "a/c.md", "a/e/F.TXT"]


def test_a_single_file_goes_by_its_name(tmp_path: Path) -> None:
    assert read_one(write(tmp_path / "deep" / "note.txt", "a note")).source == "note.txt"


def test_a_glob_gives_sources_below_its_last_fixed_folder(tmp_path: Path) -> None:
    for name in ("x/a.md", "x/y/b.md", "x/y/c.txt", "x/.d.md"):
        write(tmp_path / name, name)
    assert [document.source for document in read_documents(tmp_path / "x" / "**" / "*.md")] == ["a.md", "y/b.md"]
    assert [document.source for document in read_documents(f"{tmp_path}/*/y/*")] == ["x/y/b.md", "x/y/c.txt"]


def test_a_file_whose_name_looks_like_a_glob_is_that_file(tmp_path: Path) -> None:
    assert read_one(write(tmp_path / "what [draft].txt", "a draft")).source == "what [draft].txt"


def test_other_types_are_noted_in_a_folder_and_refused_by_name(tmp_path: Path) -> None:
    write(tmp_path / "a.txt", "text")
    picture = write(tmp_path / "b.png", b"\x89PNG")
    write(tmp_path / "Makefile", "all:")
    skipped: list[Skipped] = []
    assert len(list(read_documents(tmp_path, skipped=skipped))) == 1
    assert skipped == [
        Skipped("Makefile", "files without an extension are not read"),
        Skipped("b.png", "files of the type .png are not read"),
    ]
    with pytest.raises(InputError, match=r"b\.png: files of the type \.png are not read"):
        list(read_documents(picture))


def test_an_empty_folder_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=rf"no file that can be read in {tmp_path}, 0 others"):
        list(read_documents(tmp_path))


def test_a_folder_with_nothing_readable_is_an_error(tmp_path: Path) -> None:
    write(tmp_path / "b.png", b"\x89PNG")
    with pytest.raises(InputError, match=r"no file that can be read in .*, 1 others"):
        list(read_documents(tmp_path))


def test_a_glob_without_a_match_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no file that can be read in .*/\*\.txt"):
        list(read_documents(tmp_path / "*.txt"))


def test_a_malformed_glob_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"x\*\*"):  # Python 3.13 takes it for x*, and finds nothing
        list(read_documents(tmp_path / "x**" / "*.txt"))


@pytest.mark.parametrize("name", ["missing.txt", "missing", "a\0b"])
def test_a_missing_path_is_an_error(tmp_path: Path, name: str) -> None:
    with pytest.raises(InputError, match=r"there is no file or folder .*missing|holds a NUL character"):
        list(read_documents(tmp_path / name))


def test_a_workspace_inside_a_folder_is_not_read(tmp_path: Path) -> None:
    write(tmp_path / "a.txt", "text")
    write(tmp_path / "workspace" / "ragloom.sqlite", b"")
    write(tmp_path / "workspace" / "derived" / "settings.json", "{}")
    skipped: list[Skipped] = []
    assert [document.source for document in read_documents(tmp_path, skipped=skipped)] == ["a.txt"]
    assert skipped == [Skipped("workspace", "a workspace of ragloom")]


def test_links_to_folders_are_noted_and_not_followed(tmp_path: Path) -> None:
    write(tmp_path / "in" / "a.txt", "text")
    (tmp_path / "in" / "loop").symlink_to(tmp_path / "in", target_is_directory=True)
    skipped: list[Skipped] = []
    assert [document.source for document in read_documents(tmp_path / "in", skipped=skipped)] == ["a.txt"]
    assert skipped == [Skipped("loop", "a link to a folder is not followed")]


def test_a_link_to_itself_is_an_error(tmp_path: Path) -> None:
    loop = tmp_path / "loop.txt"
    loop.symlink_to(loop)
    with pytest.raises(InputError, match=r"cannot read .*loop\.txt: Too many levels of symbolic links"):
        list(read_documents(loop))


def test_broken_links_in_a_folder_are_noted(tmp_path: Path) -> None:
    write(tmp_path / "a.txt", "text")
    (tmp_path / "b.txt").symlink_to(tmp_path / "gone.txt")
    skipped: list[Skipped] = []
    assert len(list(read_documents(tmp_path, skipped=skipped))) == 1
    assert skipped == [Skipped("b.txt", "cannot be read: No such file or directory")]


def test_what_is_no_regular_file_is_refused_without_opening_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # the path of a socket must be short
    pipe, folder, unix = tmp_path / "pipe.txt", tmp_path / "folder.txt", tmp_path / "socket.jsonl"
    os.mkfifo(pipe)
    write(folder / "a.txt", "text")
    with pytest.raises(InputError, match=r"pipe\.txt is a pipe, not a file"):
        list(read_documents(pipe))
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(unix.name)
        with pytest.raises(InputError, match=r"socket\.jsonl is a socket, not a file"):
            list(read_documents(unix))
    assert read_one(folder).source == "a.txt"
    link = tmp_path / "device.txt"
    link.symlink_to("/dev/zero")
    with pytest.raises(InputError, match=r"device\.txt is a device, not a file"):
        list(read_documents(link))


def test_pipes_in_a_folder_are_noted(tmp_path: Path) -> None:
    write(tmp_path / "a.txt", "text")
    os.mkfifo(tmp_path / "b.txt")
    skipped: list[Skipped] = []
    assert len(list(read_documents(tmp_path, skipped=skipped))) == 1
    assert skipped == [Skipped("b.txt", "not a regular file")]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read_is_an_error(tmp_path: Path) -> None:
    path = write(tmp_path / "a.txt", "text")
    path.chmod(0)
    with pytest.raises(InputError, match=r"cannot read .*a\.txt: Permission denied"):
        list(read_documents(path))


def test_a_file_name_that_is_not_utf8_is_an_error(tmp_path: Path) -> None:
    try:
        write(Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.txt")), "text")
    except OSError:
        pytest.skip("this file system takes UTF-8 names only")
    with pytest.raises(InputError, match=r"caf\\udce9\.txt': the file's name is not valid UTF-8"):
        list(read_documents(tmp_path))


# ---- Text


def test_text_is_kept_exactly_as_read(tmp_path: Path) -> None:
    text = "  one\r\ntwo\rthree\n\n\tfour \u2028{x} {{7*7}} %s 🎉 e\u0301 \n"
    assert read_one(write(tmp_path / "a.txt", text)).text == text
    assert read_one(write(tmp_path / "a.md", text)).text == text
    assert read_one(jsonl(tmp_path / "a.jsonl", {"text": text})).text == text


def test_a_byte_order_mark_goes(tmp_path: Path) -> None:
    mark = "\ufeff"
    assert read_one(write(tmp_path / "a.txt", mark + "text")).text == "text"
    assert read_one(write(tmp_path / "a.csv", mark + "text\nrow\n")).text == "row"
    assert read_one(write(tmp_path / "a.jsonl", mark + '{"text": "line"}')).text == "line"
    assert read_one(write(tmp_path / "a.json", mark + '[{"text": "entry"}]')).text == "entry"


def test_titles_come_from_headings_html_titles_and_file_names(tmp_path: Path) -> None:
    assert read_one(write(tmp_path / "plan.txt", "text")).title == "plan"
    assert read_one(write(tmp_path / "plan.md", "\n## The plan ##\r\ntext")).title == "The plan"
    assert read_one(write(tmp_path / "other.md", "text\n# Later")).title == "other"
    assert read_one(write(tmp_path / "page.html", "<title>The\npage</title><p>text")).title == "The page"
    assert read_one(write(tmp_path / "bare.htm", "<p>text")).title == "bare"


@pytest.mark.parametrize("name", ["a.txt", "a.md", "a.html"])
@pytest.mark.parametrize(("content", "problem"), [("", "is empty"), (" \n\t\u3000", "holds only white space")])
def test_documents_without_text_are_errors(tmp_path: Path, name: str, content: str, problem: str) -> None:
    if name == "a.html":
        problem = "is empty"  # white space is no part of a page's text
    with pytest.raises(InputError, match=f"{name}: {problem}"):
        list(read_documents(write(tmp_path / name, content)))


def test_invalid_utf8_is_named_by_its_byte_offset(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"a\.txt: byte 7 \(0xff\) is not valid UTF-8"):
        list(read_documents(write(tmp_path / "a.txt", "déjà ".encode() + b"\xff")))
    with pytest.raises(InputError, match=r"a\.jsonl, line 2: byte 25 \(0xe9\) is not valid UTF-8"):
        list(read_documents(write(tmp_path / "a.jsonl", b'{"text": "a"}\n{"text": "x\xe9"}\n')))
    with pytest.raises(InputError, match=r"a\.csv, line 3: byte 8 \(0xff\) is not valid UTF-8"):
        list(read_documents(write(tmp_path / "a.csv", b"text\na\nb\xff\n")))


def test_half_a_surrogate_pair_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"a\.txt: byte 1 \(0xed\) is not valid UTF-8"):
        list(read_documents(write(tmp_path / "a.txt", "a\ud800")))
    with pytest.raises(InputError, match=r"a\.jsonl, line 1: the field 'text' holds half a surrogate pair \(U\+D800\)"):
        list(read_documents(write(tmp_path / "a.jsonl", r'{"text": "a\ud800"}')))
    assert texts(write(tmp_path / "b.jsonl", r'{"text": "\ud83c\udf89"}')) == ["🎉"]


def test_nul_characters_are_errors(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"a\.txt, line 3: holds a NUL character"):
        list(read_documents(write(tmp_path / "a.txt", "a\nb\nc\0")))
    with pytest.raises(InputError, match=r"a\.csv, line 2: the field 'text' holds a NUL character"):
        list(read_documents(write(tmp_path / "a.csv", "text\na\0\n")))
    nested = {"text": "a", "tags": [{"deep": "x\0"}]}
    with pytest.raises(InputError, match=r"a\.jsonl, line 1: the field 'tags' holds a NUL character"):
        list(read_documents(jsonl(tmp_path / "a.jsonl", nested)))


def test_a_file_of_50_mb_is_read(tmp_path: Path) -> None:
    size, line = 50_000_000, "Fifty million characters, one like the other. "
    text = line * (size // len(line))
    assert read_one(write(tmp_path / "big.txt", text)).text == text
    records = "".join(f'{{"id": {number}, "text": "{line * 200}"}}\n' for number in range(size // len(line) // 200))
    assert sum(len(document.text) for document in read_documents(write(tmp_path / "big.jsonl", records))) > 49_000_000
    rows = "text\n" + '"' + text + '"\n'
    assert read_one(write(tmp_path / "big.csv", rows)).text == text


# ---- PDF, Word, HTML


def test_a_pdf_is_read_page_by_page(tmp_path: Path) -> None:
    document = read_one(write(tmp_path / "report.pdf", pdf("The first page.", "The second page.")))
    assert (document.title, document.text) == ("report", "The first page.\n\nThe second page.")


def test_a_pdf_with_a_password_is_an_error(tmp_path: Path) -> None:
    path = write(tmp_path / "secret.pdf", encrypted_pdf("hush", "key"))
    with pytest.raises(InputError, match=r"secret\.pdf: not a PDF that can be read \(File has not been decrypted\)"):
        list(read_documents(path))
    assert texts(write(tmp_path / "open.pdf", encrypted_pdf("anybody may read", ""))) == ["anybody may read"]


@pytest.mark.parametrize("content", [b"", b"no PDF", b"%PDF-1.4 broken", pdf("text")[:150]])
def test_a_broken_pdf_is_an_error(tmp_path: Path, content: bytes) -> None:
    with pytest.raises(InputError, match=r"broken\.pdf: not a PDF that can be read"):
        list(read_documents(write(tmp_path / "broken.pdf", content)))


def test_a_pdf_without_text_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"scan\.pdf: the PDF holds no text"):
        list(read_documents(write(tmp_path / "scan.pdf", pdf(""))))


def test_reading_a_pdf_leaves_logging_as_it_was(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    root = logging.getLogger()
    before = root.level, root.handlers[:], logging.getLogger("pypdf").level
    with pytest.raises(InputError):
        list(read_documents(write(tmp_path / "broken.pdf", b"%PDF-1.4 broken")))
    assert (root.level, root.handlers[:], logging.getLogger("pypdf").level) == before
    assert capfd.readouterr() == ("", "")


def test_a_word_document_is_read_by_paragraphs(tmp_path: Path) -> None:
    write_docx(tmp_path / "letter.docx", "Dear reader,", "all is well.")
    document = read_one(tmp_path / "letter.docx")
    assert (document.title, document.text) == ("letter", "Dear reader,\n\nall is well.")


def test_a_broken_word_document_is_an_error(tmp_path: Path) -> None:
    message = r"letter\.docx: not a Word document that can be read"
    with pytest.raises(InputError, match=message):
        list(read_documents(write(tmp_path / "letter.docx", b"no zip file")))
    write_docx(tmp_path / "letter.docx", xml="<w:document")
    with pytest.raises(InputError, match=message):
        list(read_documents(tmp_path / "letter.docx"))
    write_docx(tmp_path / "letter.docx", xml=" " * 200_000_001)
    with pytest.raises(InputError, match=r"letter\.docx: unpacks to 200,000,001 bytes"):
        list(read_documents(tmp_path / "letter.docx"))
    write_docx(tmp_path / "letter.docx")
    with pytest.raises(InputError, match=r"letter\.docx: is empty"):
        list(read_documents(tmp_path / "letter.docx"))


# ---- Records


def test_records_go_by_their_id_or_by_their_content(tmp_path: Path) -> None:
    path = jsonl(tmp_path / "c.jsonl", {"id": 7, "text": "seven"}, {"_id": "x", "text": "ex"}, {"text": "nameless"})
    first, second, third = read_documents(path)
    assert (first.source, second.source) == ("c.jsonl#7", "c.jsonl#x")
    assert third.source.startswith("c.jsonl#")


def test_inserting_a_record_changes_no_other(tmp_path: Path) -> None:
    records: list[object] = [{"text": f"text {number}", "title": "same", "n": number} for number in range(5)]
    before = list(read_documents(jsonl(tmp_path / "c.jsonl", *records)))
    after = list(read_documents(jsonl(tmp_path / "c.jsonl", {"text": "new"}, *records)))
    assert after[1:] == before


def test_what_else_a_record_holds_is_its_meta(tmp_path: Path) -> None:
    record = {"id": "1", "title": "T", "text": "t", "year": 1999, "tags": ["a", {"b": None}]}
    document = read_one(jsonl(tmp_path / "c.jsonl", record))
    assert (document.title, document.meta) == ("T", {"year": 1999, "tags": ["a", {"b": None}]})


def test_repeated_records_are_read_once(tmp_path: Path) -> None:
    path = jsonl(tmp_path / "c.jsonl", *[{"text": "same"}, {"id": 1, "text": "one"}] * 2)
    assert texts(path) == ["same", "one"]


def test_one_id_for_two_texts_is_an_error_that_names_both_places(tmp_path: Path) -> None:
    path = jsonl(tmp_path / "c.jsonl", {"id": 1, "text": "one"}, {"id": 2, "text": "two"}, {"id": 1, "text": "uno"})
    with pytest.raises(InputError, match=r"c\.jsonl, line 3: another document with the id of .*c\.jsonl, line 1"):
        list(read_documents(path))


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ('{"text": "a"', r"not valid JSON at column 13: Expecting ',' delimiter"),
        ("plain words", "not valid JSON at column 1: Expecting value"),
        ("[1, 2]", "expected an object, found a list"),
        ('"text"', "expected an object, found a string"),
        ("null", "expected an object, found null"),
        ('{"title": "a"}', "the field 'text' must be a string, found no such field"),
        ('{"text": 5}', "the field 'text' must be a string, found a number"),
        ('{"text": null}', "the field 'text' must be a string, found null"),
        ('{"text": ["a"]}', "the field 'text' must be a string, found a list that holds a string"),
        ('{"text": "a", "title": {}}', "the field 'title' must be a string, found an object"),
        ('{"text": "a", "id": true}', "the field 'id' must be a string or a whole number, found true or false"),
        ('{"text": "a", "id": 1.5}', "the field 'id' must be a string or a whole number, found a number"),
        ('{"text": "a", "id": " "}', "the field 'id' must be a string or a whole number, found an empty one"),
        ('{"text": ""}', "the text is empty"),
        (r'{"text": " \n"}', "the text holds only white space"),
        ('{"text": "a", "text": "b"}', "not usable JSON: the name 'text' appears twice in one object"),
        ('{"text": "a", "score": NaN}', "not usable JSON: NaN is no JSON number"),
        ('{"text": "a", "n": ' + "9" * 5000 + "}", "not usable JSON: Exceeds the limit"),
        ("[" * 100_000, "not usable JSON: "),
    ],
)
def test_a_bad_line_is_named_by_file_and_line(tmp_path: Path, line: str, problem: str) -> None:
    path = write(tmp_path / "c.jsonl", f'{{"text": "good"}}\n\n{line}\n{{"text": "good too"}}\n')
    with pytest.raises(InputError, match=rf"c\.jsonl, line 3: {problem}"):
        list(read_documents(path))
    skipped: list[Skipped] = []
    assert [d.text for d in read_documents(path, on_error="skip", skipped=skipped)] == ["good", "good too"]
    assert [note.source for note in skipped] == ["c.jsonl"]
    assert "c.jsonl, line 3: " in skipped[0].reason


def test_stop_gives_what_came_before_the_broken_file_and_nothing_of_it(tmp_path: Path) -> None:
    write(tmp_path / "a.txt", "good")
    write(tmp_path / "b.jsonl", '{"text": "also good"}\nbroken\n')
    read = read_documents(tmp_path)
    assert next(read).text == "good"
    with pytest.raises(InputError, match=r"b\.jsonl, line 2"):
        next(read)


def test_skip_goes_on_behind_broken_files_and_lists_them(tmp_path: Path) -> None:
    write(tmp_path / "a.txt", "\xff".encode("latin-1"))
    write(tmp_path / "b.txt", "good")
    write(tmp_path / "c.pdf", b"broken")
    write(tmp_path / "d.csv", 'text\ngood row\n"open quote\n')
    skipped: list[Skipped] = []
    assert [document.source for document in read_documents(tmp_path, on_error="skip", skipped=skipped)] == ["b.txt"]
    assert [note.source for note in skipped] == ["a.txt", "c.pdf", "d.csv"]


# ---- CSV


def test_the_rows_of_a_csv_are_documents(tmp_path: Path) -> None:
    rows = 'id,title,text,year\n1,T,"one, with comma\nand line",1999\n\n2,,two,\n'
    first, second = read_documents(write(tmp_path / "t.csv", rows))
    assert (first.source, first.title, first.text) == ("t.csv#1", "T", "one, with comma\nand line")
    assert (first.meta, second.title, second.meta) == ({"year": "1999"}, "", {"year": ""})


def test_the_only_column_holds_the_text(tmp_path: Path) -> None:
    assert texts(write(tmp_path / "t.csv", "sentence\none\ntwo\n")) == ["one", "two"]


def test_tabs_separate_the_columns_of_a_tsv(tmp_path: Path) -> None:
    assert texts(write(tmp_path / "t.tsv", "id\ttext\n1\tone, two\n")) == ["one, two"]


def test_another_column_or_field_can_be_named(tmp_path: Path) -> None:
    table = write(tmp_path / "t.csv", "name,body\nn,words\n")
    lines = jsonl(tmp_path / "t.jsonl", {"name": "n", "body": "words"})
    assert [document.text for document in read_documents(table, text_field="body")] == ["words"]
    assert [document.text for document in read_documents(lines, text_field="body")] == ["words"]


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("name,body\nn,words\n", r"line 2: unknown shape of corpus: found 'name' \(a string\), 'body' \(a string\)"),
        ("id,text\n1,one\n2\n", r"line 3: 1 fields in 2 columns"),
        ("id,text\n1,one,two\n", r"line 2: 3 fields in 2 columns"),
        ('id,text\n1,"one\n', r"line 2: unexpected end of data"),
        ("text,text\na,b\n", r"line 1: a column name appears twice"),
        ("id;text\n1;one\n", r"line 1: one column only, 'id;text'"),
        ("", r"holds no records"),
        ("text\n", r"holds no records"),
        ("text,id\n ,1\n", r"line 2: the text holds only white space"),
    ],
)
def test_a_bad_csv_is_named_by_file_and_line(tmp_path: Path, content: str, problem: str) -> None:
    with pytest.raises(InputError, match=rf"t\.csv(, |: ){problem}"):
        list(read_documents(write(tmp_path / "t.csv", content)))


def test_empty_record_files_are_errors(tmp_path: Path) -> None:
    for name, content in (("a.jsonl", "\n\n"), ("a.json", "[]")):
        with pytest.raises(InputError, match=f"{name}: holds no records"):
            list(read_documents(write(tmp_path / name, content)))
    with pytest.raises(InputError, match=r"a\.json, line 1: not valid JSON at column 1"):
        list(read_documents(write(tmp_path / "a.json", "")))
    with pytest.raises(InputError, match=r"a\.json: expected a list of objects or one object, found a number"):
        list(read_documents(write(tmp_path / "a.json", "5")))
    with pytest.raises(InputError, match=r"a\.json, record 2: expected an object, found a string"):
        list(read_documents(write(tmp_path / "a.json", '[{"text": "a"}, "b"]')))
