from __future__ import annotations

from pathlib import Path
from xml.sax.saxutils import escape

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from polyhead.backbone.data import tmx_rows
from polyhead.backbone.data.tmx_rows import read_tmx
from polyhead.registry.contracts import SourceRow
from polyhead.registry.errors import DataError

HEADER = '<header srclang="en" datatype="plaintext" segtype="sentence" adminlang="en" o-tmf="x" creationtool="t"/>'


def unit(**sides: str) -> str:
    variants = (f'<tuv xml:lang="{code.replace("_", "-")}"><seg>{text}</seg></tuv>' for code, text in sides.items())
    return f"<tu>{''.join(variants)}</tu>"


def tmx(*units: str, start: str = '<?xml version="1.0"?>\n<!DOCTYPE tmx SYSTEM "tmx14.dtd">') -> str:
    lines = "\n".join(units)
    return f'{start}\n<tmx version="1.4">{HEADER}<body>\n{lines}\n</body></tmx>\n'


def rows(folder: Path, content: str | bytes, encoding: str = "utf-8") -> list[SourceRow]:
    path = folder / "a.tmx"
    path.write_bytes(content.encode(encoding) if isinstance(content, str) else content)
    return list(read_tmx(path, encoding))


def pair(line: int, **sides: str) -> SourceRow:
    return SourceRow(line, {"translation": sides})


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "gb18030"])
def test_each_unit_is_a_row_whatever_the_encoding(tmp_path: Path, encoding: str) -> None:
    content = tmx(
        unit(en="Tom &amp; I &lt;3", zh="汤姆和我。&#x4e2d;"),
        unit(EN="two\r\nlines", ZH_Hans="两行"),
        start='<?xml version="1.0" encoding="GB2312"?>',  # what the file says of itself does not count
    )
    assert rows(tmp_path, content, encoding) == [
        pair(3, en="Tom & I <3", zh="汤姆和我。中"),
        pair(4, en="two\nlines", zh="两行"),
    ]


def test_regions_are_kept_where_a_unit_has_two(tmp_path: Path) -> None:
    content = tmx(unit(en_US="colour", zh_CN="颜色", zh_TW="顏色"), unit(en_GB="red", zh_CN="红"))
    assert rows(tmp_path, content) == [
        SourceRow(4, {"translation": {"en": "colour", "zh-cn": "颜色", "zh-tw": "顏色"}}),
        SourceRow(5, {"translation": {"en": "red", "zh-cn": "红"}}),
    ]


def test_several_texts_for_one_language_are_several_rows(tmp_path: Path) -> None:
    second = '<tuv xml:lang="zh"><seg>乙</seg></tuv></tu>'
    content = tmx(unit(en="a", zh="甲").replace("</tu>", second))
    assert rows(tmp_path, content) == [pair(4, en="a", zh="甲"), pair(4, en="a", zh="乙")]


def test_formatting_inside_a_segment_is_left_out(tmp_path: Path) -> None:
    english = (
        'the <bpt i="1">&lt;b></bpt><hi>big</hi><ept i="1">&lt;/b></ept> <ph x="1">{0}</ph>box<it pos="end">x</it>'
    )
    assert rows(tmp_path, tmx(unit(en=english, zh="<ut>x</ut>大盒子"))) == [pair(4, en="the big box", zh="大盒子")]


def test_the_attribute_of_older_versions_names_the_language_too(tmp_path: Path) -> None:
    content = tmx('<tu><tuv lang="EN"><seg>a</seg></tuv><tuv lang="zh_cn"><seg>甲</seg></tuv></tu>')
    assert rows(tmp_path, content) == [pair(4, en="a", zh="甲")]


def test_a_broken_unit_does_not_end_the_file(tmp_path: Path) -> None:
    content = tmx(
        unit(en="alone"),
        unit(en="empty", zh=" "),
        "<tu></tu>",
        "<tu><tuv><seg>a</seg></tuv></tu>",
        unit(en="a&nbsp;b", zh="甲"),
        unit(en="XX", zh="乙"),
        unit(en="good", zh="好"),
    )
    assert rows(tmp_path, content.encode().replace(b"XX", b"\xff")) == [
        SourceRow(4, {}, "the translation unit has text in only 'en'"),
        SourceRow(5, {}, "the translation unit has text in only 'en'"),
        SourceRow(6, {}, "the translation unit has text in no language"),
        SourceRow(7, {}, "a variant (tuv) does not say its language (xml:lang)"),
        SourceRow(8, {}, "holds the entity '&nbsp;', which the file does not define"),
        SourceRow(9, {}, "holds bytes that are not valid utf-8"),
        pair(10, en="good", zh="好"),
    ]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "a.tmx: is no TMX file: no element found"),
        ("text", "a.tmx: is no TMX file: syntax error"),
        ("<html></html>", "a.tmx: is no TMX file: it begins with the element 'html'"),
        (tmx(), "a.tmx: has no translation unit (tu)"),
        (tmx("<tu><tuv></tu>"), "a.tmx, line 4: is no well-formed XML: mismatched tag"),
        (tmx(unit(en="a", zh="甲"))[:-9], "a.tmx, line 5: is no well-formed XML: "),
        (tmx(unit(en="a & b", zh="甲")), "a.tmx, line 4: is no well-formed XML: "),
    ],
)
def test_another_file_is_refused(tmp_path: Path, content: str, message: str) -> None:
    with pytest.raises(DataError) as caught:
        rows(tmp_path, content)
    assert str(caught.value).startswith(f"{tmp_path}/{message}")


@pytest.mark.parametrize(
    "declaration",
    [
        '<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;&a;">',
        '<!ENTITY b SYSTEM "file:///etc/passwd">',
        '<!ENTITY % b SYSTEM "http://127.0.0.1/x.dtd"> %b;',
    ],
)
def test_a_file_that_declares_entities_is_refused(tmp_path: Path, declaration: str) -> None:
    start = f"<!DOCTYPE tmx [{declaration}]>"
    with pytest.raises(DataError, match=r"line 1: declares the entity '[ab]'; such files are not read"):
        rows(tmp_path, tmx(unit(en="&b;", zh="甲"), start=start))


def test_a_definition_outside_the_file_is_not_opened(tmp_path: Path) -> None:
    (tmp_path / "evil.dtd").write_text('<!ENTITY x "read">', encoding="utf-8")
    content = tmx(unit(en="&x;", zh="甲"), start=f'<!DOCTYPE tmx SYSTEM "{tmp_path}/evil.dtd">')
    assert rows(tmp_path, content) == [SourceRow(3, {}, "holds the entity '&x;', which the file does not define")]


texts = st.text(
    st.characters(
        codec="utf-8", exclude_categories=["Cs", "Cc", "Zs", "Zl", "Zp"], exclude_characters="\ufffe\uffff\U0010ffff"
    ),
    min_size=1,
)


@settings(max_examples=40, deadline=None)
@given(pairs=st.lists(st.tuples(texts, texts), min_size=1, max_size=5), chunk=st.integers(1, 50))
def test_what_was_written_is_read_back_in_pieces_of_any_size(
    tmp_path_factory: pytest.TempPathFactory, pairs: list[tuple[str, str]], chunk: int
) -> None:
    content = tmx(*(unit(en=escape(one), zh=escape(other)) for one, other in pairs))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tmx_rows, "_CHUNK", chunk)
        found = rows(tmp_path_factory.mktemp("tmx"), content)
    assert [tuple(row.row["translation"].values()) for row in found] == pairs
