from ragloom.components.html_text import read_html


def test_blocks_become_paragraphs_and_inline_marks_vanish() -> None:
    page = "<body><h1>A</h1><p>one <b>two</b>,\n  th<i>ree</i>.</p><ul><li>x</li><li>y</li></ul>tail</body>"
    assert read_html(page) == ("", "A\n\none two, three.\n\nx\n\ny\n\ntail")


def test_what_is_not_meant_to_be_read_is_left_out() -> None:
    page = """<!DOCTYPE html><html><head><title>T &amp; t</title><meta name=x content=no>
    <style>p {no: no}</style></head>
    <body>yes<script>if (a < b) no();</script><!-- no --><noscript>no</noscript><template><p>no</p></template> &eacute;
    </body></html>"""
    assert read_html(page) == ("T & t", "yes é")


def test_broken_pages_are_read_as_far_as_they_go() -> None:
    assert read_html("<head><title>T</title><p>one<div>two</span></p>three &unknown; <") == (
        "T",
        "one\n\ntwo\n\nthree &unknown; <",
    )


def test_only_the_first_title_counts() -> None:
    assert read_html("<title>T</title><svg><title>icon</title></svg>") == ("T", "icon")


def test_deep_nesting_is_no_problem() -> None:
    assert read_html("<div>" * 100_000 + "deep")[1] == "deep"
