import bz2
import gzip
import json
import lzma
from functools import partial

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from sentiment.errors import AmbiguousInputError, EmptyInputError, UnreadableFileError
from sentiment.training.data.csv_files import open_csv
from sentiment.training.data.fasttext_files import open_fasttext
from sentiment.training.data.json_files import open_json
from sentiment.training.data.source import ReadOptions
from sentiment.training.data.sources import find_locations
from sentiment.training.data.table_files import open_arrow, open_parquet

COMPRESS = {
    "": bytes,
    ".gz": partial(gzip.compress, mtime=0),  # its bytes are in the names of tests, which must not change
    ".bz2": bz2.compress,
    ".xz": lzma.compress,
    ".ZST": lambda content: pa.compress(content, "zstd", asbytes=True),
}


def write(path, content, encoding="utf-8"):
    path.write_bytes(content if isinstance(content, bytes) else content.encode(encoding))
    return path


def rows(source, *columns):
    found = []
    for batch in source.read(list(columns or source.columns)):
        found += list(zip(*batch.values(), strict=True))
    return found


def read_csv(folder, content, name="a.csv", encoding="utf-8", **options):
    return open_csv(write(folder / name, content, encoding), ReadOptions(**options))


@pytest.mark.parametrize("suffix", list(COMPRESS))
@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.CSV", "text,label\nWorks well,1\n"),
        ("a.tsv", "text\tlabel\nWorks well\t1\n"),
        ("a.jsonl", '{"text": "Works well", "label": "1"}\n'),
        ("a.json", '[{"text": "Works well", "label": "1"}]'),
        ("train.ft.txt", "__label__1 Works well\n"),
    ],
)
def test_every_text_format_is_read_plain_and_compressed(tmp_path, name, content, suffix):
    path = write(tmp_path / f"{name}{suffix}", COMPRESS[suffix](content.encode()))
    (location,) = find_locations(str(path), ReadOptions()).by_split["train"]
    assert rows(location.open(), "text", "label") == [("Works well", "1")]


def test_a_damaged_stream_of_many_does_not_end_the_file(tmp_path):
    """Programs that compress in parallel write a bzip2 file of many streams."""
    streams = [bz2.compress(b"text,label\n" + b"fine,1\n" * 99), bz2.compress(b"fine,0\n" * 99)]
    path = write(tmp_path / "a.csv.bz2", b"".join(streams))
    assert len(rows(open_csv(path, ReadOptions()))) == 198
    write(path, streams[0] + b"XX" + streams[1][2:])
    with pytest.raises(UnreadableFileError, match="damaged, cut off"):
        open_csv(path, ReadOptions())


@pytest.mark.parametrize("suffix", list(COMPRESS)[1:])
def test_a_compressed_file_that_was_cut_off_is_named(tmp_path, suffix):
    content = COMPRESS[suffix](b"text,label\n" + b"".join(b"row %d,1\n" % i for i in range(9999)))
    path = write(tmp_path / f"a.csv{suffix}", content[: len(content) // 2])
    with pytest.raises(UnreadableFileError, match="damaged, cut off"):
        open_csv(path, ReadOptions())


class TestCsv:
    def test_an_unquoted_comma_never_shifts_columns(self, tmp_path):
        with pytest.raises(UnreadableFileError, match="line 3: expected 2 values as in the header, found 3"):
            read_csv(tmp_path, "text,label\nFine,1\nGood, works well,1\n")

    def test_every_row_with_an_unquoted_comma_is_refused_too(self, tmp_path):
        with pytest.raises(UnreadableFileError, match="line 2: expected 2"):
            read_csv(tmp_path, "text,label\nGood, works,1\nBad, broke,0\n")

    def test_a_row_that_is_too_short_is_refused(self, tmp_path):
        with pytest.raises(UnreadableFileError, match="line 4: expected 3 values .* found 2"):
            read_csv(tmp_path, 'a,text,label\n1,"two\nlines",1\n2,short\n')

    @pytest.mark.parametrize("text", ["N/A", "None", "null", "NA", "nan", "NaN", "007", "1984.0", "-", "1e5"])
    def test_only_an_empty_field_is_null(self, tmp_path, text):
        assert rows(read_csv(tmp_path, f"text,label\n{text},1\n,0\n")) == [(text, "1"), (None, "0")]

    def test_the_null_of_databases_is_null(self, tmp_path):
        assert rows(read_csv(tmp_path, "text,label\n\\N,1\n\\Nice,\\N\n")) == [(None, "1"), ("\\Nice", None)]

    def test_spark_escapes_quotation_marks_with_backslashes(self, tmp_path):
        # As Spark 4.3 wrote these texts: backslashes outside quotation marks stand for themselves.
        content = (
            'text,label\n"He said \\"wow\\", great",0\na\\b,1\nends\\,2\n'
            '"say \\\\\\"x\\\\\\"",4\n"inch 5\\"",5\n'
            '"C:\\\\new, \\"q\\"",6\n"two\nlines \\"x\\"",8\n"",9\n,10\n"bs end, \\\\",11\n'
        )
        source = read_csv(tmp_path, content)
        assert "backslash" in source.notes[0]
        assert [text for text, _ in rows(source)] == [
            'He said "wow", great',
            "a\\b",
            "ends\\",
            'say \\"x\\"',
            'inch 5"',
            'C:\\new, "q"',
            'two\nlines "x"',
            None,
            None,
            "bs end, \\",
        ]

    def test_doubled_quotation_marks_next_to_a_backslash_are_not_taken_for_escapes(self, tmp_path):
        assert rows(read_csv(tmp_path, 'text,label\n"C:\\",1\n"5"" wide, \\",0\n')) == [
            ("C:\\", "1"),
            ('5" wide, \\', "0"),
        ]

    def test_a_file_that_can_be_read_in_two_ways_is_refused(self, tmp_path):
        with pytest.raises(AmbiguousInputError, match="two ways"):
            read_csv(tmp_path, 'text,more\n"a\\"",",b"\n')

    @pytest.mark.parametrize("sign", [",", "\t"])
    def test_a_value_of_several_lines_that_may_be_rows_is_refused(self, tmp_path, sign):
        content = f'text{sign}label\n"Great they said{sign}1\nnot so good"{sign}0\n'
        with pytest.raises(AmbiguousInputError, match="two ways, with values of several lines"):
            read_csv(tmp_path, content, delimiter=sign)

    def test_rows_between_two_stray_quotation_marks_are_no_text(self, tmp_path):
        content = '"stray opening,1\n\nfine,1\nbad,0\nstray closing",0\nso so,0\n'
        with pytest.raises(AmbiguousInputError, match=r"line 3: .* several lines that may be 4 rows.*remove"):
            read_csv(tmp_path, f'text,label\n"A comma, here",1\n{content}')

    def test_rows_within_a_later_column_are_no_text(self, tmp_path):
        content = 'label;text\n1;"semi; colon"\n1;"stray opening\n1;fine\n0;bad\n0;closing"\n0;so so\n'
        with pytest.raises(AmbiguousInputError, match="line 3: .* may be 4 rows"):
            read_csv(tmp_path, content, delimiter=";")

    @pytest.mark.parametrize(
        "text",
        [
            "Good, cheap\nlight, fast\nsmall, neat\nI like it",  # no labels
            "Sound,1\nScreen,0\nI like it",  # one inner line
            "What I like:\nSound,1\nScreen,0\nI like it",  # a first line that is no row
            "Sound,1\nScreen,0\nwell, it is so,0\nI like it",
            "Sound,1\nScreen,5\nCase,4\nI like it",  # no labels of other rows
            "Sound,\nScreen,\nCase,\nI like it",
        ],
    )
    def test_a_review_of_lines_with_commas_is_a_text(self, tmp_path, text):
        source = read_csv(tmp_path, f'text,label\n"A comma, here",1\n"{text}",1\nbad,0\nnone,\n')
        assert rows(source)[1] == (text, "1")

    def test_a_text_of_several_lines_may_be_the_only_column(self, tmp_path):
        assert rows(read_csv(tmp_path, 'text\n"Great\nworks"\nBad\n')) == [("Great\nworks",), ("Bad",)]

    def test_a_space_before_a_quotation_mark_is_no_part_of_the_value(self, tmp_path):
        source = read_csv(tmp_path, '"label", "text"\n1, "Good, works"\n0, "Bad"\n')
        assert rows(source, "text", "label") == [("Good, works", "1"), ("Bad", "0")]
        assert source.notes == ("spaces before values are no part of them",)

    @pytest.mark.parametrize(
        ("written", "text"),
        [(' "well" she said', ' "well" she said'), (" plain", " plain"), ('" ""well"""', ' "well"')],
    )
    def test_a_space_before_a_value_stays_in_the_text(self, tmp_path, written, text):
        source = read_csv(tmp_path, f"label,text\n1,{written}\n0, a\n")
        assert rows(source, "text") == [(text,), (" a",)]

    @pytest.mark.parametrize("mark", ["", "\ufeff"])
    def test_the_header_of_a_joined_file_is_no_row(self, tmp_path, mark):
        with pytest.raises(
            UnreadableFileError, match="line 3: has the names of the columns instead of values"
        ):
            read_csv(tmp_path, f"text,label\ngood,1\n{mark}text,label\nbad,0\n")

    def test_column_names_for_a_file_with_this_header_are_refused(self, tmp_path):
        with pytest.raises(UnreadableFileError, match="line 1: .* do not pass --column_names"):
            read_csv(tmp_path, "text,label\ngood,1\n", column_names=("text", "label"))

    def test_the_delimiter_of_a_header_without_a_usual_name_is_found(self, tmp_path):
        content = "review;sentiment\nWell, it works, mostly;1\n"
        assert read_csv(tmp_path, content, expected_columns=("text",)).columns == ("review", "sentiment")

    def test_the_line_of_excel_with_the_delimiter_is_no_header(self, tmp_path):
        source = read_csv(tmp_path, 'sep=;\r\ntext;label\r\n"Good; works";1\r\n', expected_columns=("text",))
        assert rows(source, "text", "label") == [("Good; works", "1")]

    def test_the_delimiter_without_header_is_found_by_the_number_of_columns(self, tmp_path):
        source = read_csv(tmp_path, "2;Great, it works, mostly\n", column_names=("label", "text"))
        assert rows(source, "text") == [("Great, it works, mostly",)]

    def test_a_nul_stays_in_the_text(self, tmp_path):
        assert rows(read_csv(tmp_path, "text,label\nbefore\0after,1\n")) == [("before\0after", "1")]

    @pytest.mark.parametrize(("sign", "name"), [(";", "semicolon"), ("\t", "tab"), ("|", "bar")])
    def test_the_delimiter_is_found_and_noted(self, tmp_path, sign, name):
        source = read_csv(
            tmp_path, f"text{sign}label\nGood, works{sign}1\n", expected_columns=("text", "label")
        )
        assert rows(source) == [("Good, works", "1")]
        assert source.notes == (f"delimiter {name}",)

    def test_a_given_delimiter_wins(self, tmp_path):
        assert read_csv(tmp_path, "text~label\nGood~1\n", delimiter="~").columns == ("text", "label")

    @pytest.mark.parametrize(
        ("encoding", "note"),
        [
            ("utf-8", None),
            ("utf-8-sig", None),
            ("utf-16", "UTF-16"),
            ("utf-16-be", "UTF-16-BE, without"),
            ("cp1252", "cp1252"),
        ],
    )
    def test_the_encoding_is_found_and_noted(self, tmp_path, encoding, note):
        text = "Très bon café, déjà vu, but mostly plain words here"
        source = read_csv(tmp_path, f'text,label\n"{text}",1\n', encoding=encoding)
        assert rows(source) == [(text, "1")]
        assert (note is None and not source.notes) or note in source.notes[0]

    @pytest.mark.parametrize(
        ("encoding", "given"),
        [("utf-8-sig", "utf-8"), ("utf-8-sig", "UTF8"), ("utf-16", "utf-16-le"), ("utf-16", "utf-16")],
    )
    def test_a_byte_order_mark_is_no_part_of_the_header(self, tmp_path, encoding, given):
        path = write(tmp_path / "a.csv", "text,label\nGood,1\n", encoding)
        assert open_csv(path, ReadOptions(encoding=given)).columns == ("text", "label")

    def test_a_file_in_another_encoding_than_given_is_named(self, tmp_path):
        with pytest.raises(UnreadableFileError, match="in another encoding than given"):
            open_csv(write(tmp_path / "a.csv", "text,label\nça va,1\n"), ReadOptions(encoding="utf-16"))

    @pytest.mark.parametrize("letter", ["é", "👍", "質"])
    def test_a_file_of_two_encodings_is_refused(self, tmp_path, letter):
        text = f"mostly plain words and {letter}"
        content = f"text,label\n{text},1\n".encode() * 3 + "naïve,0\n".encode("cp1252")
        with pytest.raises(UnreadableFileError, match=r"is not UTF-8; .* 3 letters are UTF-8 and 1 are not"):
            read_csv(tmp_path, content)

    @pytest.mark.parametrize(
        "text",
        [
            "Très déçu, la qualité n’est pas à la hauteur… « cœur » à 20 € ; n° 5",  # noqa: RUF001
            "Schönes Gerät, größe paßt – für den Preis „sehr gut“",  # noqa: RUF001
            "¿Qué más? ¡Llegó rápido! El niño está contento",
            "È arrivato in ritardo, però la qualità è buona: 100 % così",
            "Não gostei, opiniões e corações; à força de emoção",
            "Jag är nöjd, åt alla! Øl på café, æbler",
            "It’s a “naïve” café—£20, 5°C, ½ price, Brand®, m²",  # noqa: RUF001
        ],
    )
    def test_western_text_is_read_as_cp1252(self, tmp_path, text):
        source = read_csv(tmp_path, f'text,label\n"{text}",1\n', encoding="cp1252")
        assert rows(source) == [(text, "1")]
        assert "encoding cp1252" in source.notes[0]

    @pytest.mark.parametrize(
        ("encoding", "text"),
        [
            ("cp1251", "очень плохо"),
            ("cp1253", "πολύ καλό"),
            ("cp1254", "Çok güzel, ışığı iyi"),
            ("gbk", "质量很差"),
            ("big5", "非常好的產品"),
            ("shift-jis", "とても悪い"),
            ("mac_roman", "très déçu et déjà vu"),
            ("mac_roman", "Schönes Gerät, größe paßt"),
            ("cp1250", "był zły i wciąż działa"),
            ("cp1250", "Nagyon jó termék, őszintén ajánlom"),
            ("iso8859-2", "příliš drahé"),
            ("cp850", "schöne Qualität"),
        ],
    )
    def test_text_in_another_code_page_is_refused(self, tmp_path, encoding, text):
        text = " " + text
        content = f"text,label\n{text * 9},1\n".replace(", ", "; ")
        with pytest.raises(UnreadableFileError, match=r"position \d+ is not UTF-8.*--encoding cp1252"):
            read_csv(tmp_path, content, encoding=encoding)
        source = open_csv(tmp_path / "a.csv", ReadOptions(encoding=encoding))
        assert rows(source) == [((text * 9).replace(", ", "; "), "1")]

    @pytest.mark.parametrize("encoding", ["cp1252", "mac_roman", "latin-1", "cp1251", "ascii"])
    def test_utf_8_is_not_read_in_a_given_code_page(self, tmp_path, encoding):
        path = write(tmp_path / "a.csv", "text,label\ndéjà vu,1\n")
        with pytest.raises(UnreadableFileError, match=f"is UTF-8, by its 2 letters .* not {encoding}"):
            open_csv(path, ReadOptions(encoding=encoding))
        write(path, "text,label\nplain,1\n")
        assert rows(open_csv(path, ReadOptions(encoding=encoding))) == [("plain", "1")]

    @pytest.mark.parametrize("encoding", ["gbk", "gb18030"])
    def test_utf_8_is_not_read_as_chinese_in_a_given_encoding(self, tmp_path, encoding):
        path = write(tmp_path / "a.csv", f"text,label\n{'很好' * 8},1\n")
        with pytest.raises(UnreadableFileError, match=f"is UTF-8, by its 16 letters .* not {encoding}"):
            open_csv(path, ReadOptions(encoding=encoding))
        write(path, f"text,label\n{'很好' * 8},1\n", encoding)
        assert rows(open_csv(path, ReadOptions(encoding=encoding))) == [("很好" * 8, "1")]

    @pytest.mark.parametrize("encoding", ["latin-1", "ISO-8859-1"])
    def test_control_characters_of_latin_1_are_noted(self, tmp_path, encoding):
        path = write(tmp_path / "a.csv", "text,label\n“café”,1\n", "cp1252")
        source = open_csv(path, ReadOptions(encoding=encoding))
        assert source.notes == (
            f"in {encoding} 2 letters are control characters, but in cp1252 signs such as quotes",
        )
        write(path, "text,label\ncafé,1\n", "cp1252")
        assert open_csv(path, ReadOptions(encoding=encoding)).notes == ()

    def test_a_field_may_be_long(self, tmp_path):
        assert rows(read_csv(tmp_path, f"text,label\n{'x' * 300_000},1\n"))[0][0] == "x" * 300_000

    def test_an_open_quotation_mark_is_named_by_its_line(self, tmp_path):
        with pytest.raises(UnreadableFileError, match="after line 2: not valid CSV"):
            read_csv(tmp_path, 'text,label\nfine,1\n"open,1\nmore,0\n')

    def test_tsv_may_have_quotation_marks_in_texts(self, tmp_path):
        source = read_csv(tmp_path, 'text\tlabel\n"so" funny\t1\n', name="a.tsv")
        assert rows(source) == [('"so" funny', "1")]
        assert "part of the text" in source.notes[0]

    @pytest.mark.parametrize(
        ("header", "marks"), [('"text"\tlabel', "{}"), ("text\tlabel", '"{}"')], ids=["header", "values"]
    )
    def test_tsv_in_quotation_marks_is_not_read_with_them(self, tmp_path, header, marks):
        """One quotation mark within a text is no reason to keep the marks around all others."""
        lines = [marks.format(f"text {i}") + "\t1\n" for i in range(20)]
        with pytest.raises(UnreadableFileError, match="after line 21: not valid CSV"):
            read_csv(tmp_path, f'{header}\n{"".join(lines)}"so "very" funny"\t1\n', name="a.tsv")

    @pytest.mark.parametrize(
        ("value", "kind"),
        [
            ('say \\"no\\" to it', "a backslash before a quotation mark"),
            ('"C:\\\\new, it is"', "a doubled backslash"),
            ("two\\nlines", r"\n, \r or \t as two characters"),
        ],
    )
    def test_what_may_be_an_escape_stays_and_is_counted(self, tmp_path, value, kind):
        source = read_csv(tmp_path, f"text,label\n{value},1\n{value},0\nfine \\ good,\\N\n")
        assert rows(source)[0][0] == value.strip('"')
        (warning,) = source.warnings
        assert f"2 with {kind}; if" in warning

    def test_escapes_that_spark_wrote_are_undone_without_warning(self, tmp_path):
        source = read_csv(tmp_path, 'text,label\n"say \\"no\\", C:\\\\n",1\na\\\\b,0\n')
        assert (rows(source)[0][0], source.warnings) == ('say "no", C:\\n', ())

    def test_a_row_that_does_not_fit_the_given_names(self, tmp_path):
        with pytest.raises(UnreadableFileError, match="expected 3 values as in the given column names"):
            read_csv(tmp_path, "1,good\n", column_names=("label", "title", "text"))

    def test_a_file_without_header(self, tmp_path):
        source = read_csv(tmp_path, '2,"Great","Works"\n', column_names=("label", "title", "text"))
        assert rows(source, "text", "label") == [("Works", "2")]

    @pytest.mark.parametrize("content", ["", "\n\n"])
    def test_an_empty_file_has_no_rows(self, tmp_path, content):
        with pytest.raises(EmptyInputError):
            read_csv(tmp_path, content)

    def test_texts_are_in_no_message(self, tmp_path):
        with pytest.raises(UnreadableFileError) as caught:
            read_csv(tmp_path, 'text,label\n"a secret" thing,1\n')
        assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        *((COMPRESS[suffix](b"text,label\n"), f"end in {suffix.lower()}") for suffix in list(COMPRESS)[1:]),
        (b"SQLite format 3\0", "a database"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "an old workbook"),
        (b"ARROW1\0\0", "end in .arrow"),
    ],
)
def test_a_file_of_another_kind_than_its_name_states_is_named(tmp_path, content, says):
    path = write(tmp_path / "a.csv", content)
    with pytest.raises(UnreadableFileError, match=says):
        find_locations(str(path), ReadOptions()).by_split["train"][0].open()


@pytest.mark.parametrize("name", ["a.csv", "a.jsonl", "a.txt", "a.parquet"])
@pytest.mark.parametrize("start", ["<!DOCTYPE html>", "<!doctype html>", "<html lang='en'>"])
def test_a_web_page_in_place_of_a_file_is_named(tmp_path, name, start):
    path = write(tmp_path / name, f"{start}<head><title>Sign in</title></head></html>")
    with pytest.raises(UnreadableFileError, match="is a web page"):
        find_locations(str(path), ReadOptions()).by_split["train"][0].open()


class TestJson:
    def read(self, folder, content, name="a.jsonl"):
        return open_json(write(folder / name, content), ReadOptions())

    def test_a_key_that_later_objects_lack_is_null(self, tmp_path):
        source = self.read(tmp_path, '{"text": "a", "label": 1}\n\n{"label": 0, "other": 1}\n')
        assert source.columns == ("text", "label", "other")
        assert rows(source, "text", "label") == [("a", 1), (None, None), (None, 0)]

    def test_only_blank_lines_are_no_data(self, tmp_path):
        with pytest.raises(EmptyInputError):
            self.read(tmp_path, "\n \n")

    def test_a_key_that_only_late_objects_have_is_a_column(self, tmp_path):
        source = self.read(tmp_path, '{"text": "a"}\n' * 1500 + '{"text": "b", "label": 1}\n')
        assert source.columns == ("text", "label")
        assert rows(source, "text", "label")[-2:] == [("a", None), ("b", 1)]

    @pytest.mark.parametrize("form", ["{}\n", "[{}]"])
    def test_a_tab_in_a_text_changes_no_escape(self, tmp_path, form):
        source = self.read(tmp_path, form.format('{"text": "tab\t, \\/ and \\ud83d\\ude00"}'))
        assert rows(source) == [("tab\t, / and 😀",)]

    def test_loose_lines_of_2014(self, tmp_path):
        source = self.read(
            tmp_path, "{'overall': 5.0, 'reviewText': \"It's fine\", 'helpful': [1, 2]}\n", "a.json"
        )
        assert rows(source, "overall", "reviewText") == [(5.0, "It's fine")]

    @pytest.mark.parametrize(
        "line",
        [
            '{"text": "it\\\'s 50\\/50"}',  # damaged JSON: in Python `\\/` is two characters
            "{'text': 'a', 1: 0}",
            "{'text': 'a'" + " " * 5_000_000 + "}",
        ],
    )
    def test_a_line_that_only_python_could_read_is_no_object(self, tmp_path, line):
        with pytest.raises(UnreadableFileError, match="line 1: expected a JSON object"):
            self.read(tmp_path, line)

    def test_a_key_that_a_python_literal_has_twice_is_refused(self, tmp_path):
        with pytest.raises(UnreadableFileError, match="line 1: an object has a key twice"):
            self.read(tmp_path, "{'text': 'It\\'s', 'label': 1, 'label': 0}\n")

    @pytest.mark.parametrize("form", ["{}\n", "[{}]"])
    def test_a_key_that_is_there_twice_is_refused(self, tmp_path, form):
        with pytest.raises(UnreadableFileError, match=" 1: an object has a key twice") as caught:
            self.read(tmp_path, form.format('{"text": "a secret", "label": 1, "text": "b"}'))
        assert "secret" not in str(caught.value)

    def test_a_line_that_is_no_object_is_named(self, tmp_path):
        with pytest.raises(UnreadableFileError, match="line 2: expected a JSON object") as caught:
            self.read(tmp_path, '{"text": "a"}\nsecret thing\n')
        assert "secret" not in str(caught.value)

    def test_an_array_over_many_chunks(self, tmp_path, monkeypatch):
        monkeypatch.setattr("sentiment.training.data.json_files._CHUNK_CHARS", 7)
        items = [{"text": f"[{i}], {{", "label": i % 2} for i in range(50)]
        source = self.read(tmp_path, json.dumps(items, indent=1), "a.json")
        assert rows(source) == [(item["text"], item["label"]) for item in items]

    @pytest.mark.parametrize("content", ['[{"a": 1}', '[{"a": 1}, 2]', '[{"a": 1}] x', '[{"a": }]'])
    def test_a_damaged_array_is_refused(self, tmp_path, content):
        with pytest.raises(UnreadableFileError, match=r"a\.json"):
            self.read(tmp_path, content, "a.json")

    @pytest.mark.parametrize("content", [{"data": [{"text": "a"}]}, {"text": {"0": "a"}}, {"text": ["a"]}])
    def test_one_object_of_all_rows_is_named(self, tmp_path, content):
        with pytest.raises(UnreadableFileError, match="one object that holds all rows or columns"):
            self.read(tmp_path, json.dumps(content), "a.json")

    def test_an_empty_array_has_no_rows(self, tmp_path):
        with pytest.raises(EmptyInputError):
            self.read(tmp_path, "[]", "a.json")


class TestFasttext:
    def test_a_line_is_a_label_and_a_text(self, tmp_path):
        path = write(tmp_path / "a.txt", "__label__2 Great: works, well\n\n__label__1 Bad\nno label\n")
        assert rows(open_fasttext(path, ReadOptions())) == [
            ("2", "Great: works, well"),
            (None, None),
            ("1", "Bad"),
            (None, "no label"),
        ]

    def test_any_white_space_ends_a_label(self, tmp_path):
        path = write(tmp_path / "a.txt", " __label__2\tGreat\tworks\n__label__1  Bad\n")
        assert rows(open_fasttext(path, ReadOptions())) == [("2", "Great\tworks"), ("1", "Bad")]

    @pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-8-sig"])
    def test_labels_are_found_in_other_encodings(self, tmp_path, encoding):
        path = write(tmp_path / "a.txt", "__label__2 Great, it works\n", encoding)
        assert rows(open_fasttext(path, ReadOptions())) == [("2", "Great, it works")]

    @pytest.mark.parametrize(
        ("line", "says"),
        [
            ("__label__1 __label__2 b", "several labels"),
            ("__label__1 b __label__2", "several labels"),
            ("b __label__2", "a label that is not its first word"),
        ],
    )
    def test_a_label_elsewhere_is_no_text(self, tmp_path, line, says):
        source = open_fasttext(write(tmp_path / "a.txt", f"__label__1 a\n{line}\n"), ReadOptions())
        with pytest.raises(UnreadableFileError, match=f"line 2: has {says}"):
            rows(source)

    def test_a_carriage_return_in_a_text_does_not_cut_it(self, tmp_path):
        path = write(tmp_path / "a.txt", "__label__1 Great,\rbut late\r\n__label__2 Bad\r\n")
        assert rows(open_fasttext(path, ReadOptions())) == [("1", "Great,\rbut late"), ("2", "Bad")]

    def test_another_text_file_is_refused(self, tmp_path):
        with pytest.raises(UnreadableFileError, match="expected __label__NAME"):
            open_fasttext(write(tmp_path / "a.txt", "text\n"), ReadOptions())


@pytest.mark.parametrize("change", [lambda b: b[:-8], lambda b: b + b, lambda b: b + b"\0" * 8])
def test_a_stream_that_does_not_end_with_its_file_is_refused(tmp_path, change):
    """Arrow takes what a writer had written before it was killed, or the first of two streams, for all."""
    table = pa.table({"text": ["a"], "label": [0]})
    with pa.OSFile(str(tmp_path / "a.arrow"), "wb") as file, pa.ipc.new_stream(file, table.schema) as out:
        out.write_table(table)
        out.write_table(table)
    source = open_arrow(tmp_path / "a.arrow", ReadOptions())
    assert len(rows(source)) == 2
    write(tmp_path / "a.arrow", change((tmp_path / "a.arrow").read_bytes()))
    with pytest.raises(UnreadableFileError, match="damaged, cut off"):
        rows(source)


def test_a_page_that_its_checksum_does_not_fit_is_refused(tmp_path):
    """Spark writes checksums of pages."""
    table = pa.table({"text": ["works well"] * 9, "label": [1] * 9})
    pq.write_table(table, tmp_path / "a.parquet", compression="none", write_page_checksum=True)
    content = (tmp_path / "a.parquet").read_bytes()
    assert len(rows(open_parquet(tmp_path / "a.parquet", ReadOptions()))) == 9
    write(tmp_path / "a.parquet", content.replace(b"works well", b"works welt", 1))
    with pytest.raises(UnreadableFileError, match="damaged, cut off"):
        rows(open_parquet(tmp_path / "a.parquet", ReadOptions()))


def test_a_time_in_an_unknown_zone_is_read(tmp_path):
    dates = pa.array([0], pa.timestamp("s", "Mars/Base"))
    pq.write_table(pa.table({"date": dates}), tmp_path / "a.parquet")
    ((date,),) = rows(open_parquet(tmp_path / "a.parquet", ReadOptions()))
    assert date.isoformat() == "1970-01-01T00:00:00+00:00"


def test_a_repeated_time_in_an_unknown_zone_is_read(tmp_path):
    times = pa.array([0, 0], pa.timestamp("s", "Mars/Base")).dictionary_encode()
    table = pa.table({"date": times})
    with pa.OSFile(str(tmp_path / "a.arrow"), "wb") as file, pa.ipc.new_stream(file, table.schema) as out:
        out.write_table(table)
    ((date,), _) = rows(open_arrow(tmp_path / "a.arrow", ReadOptions()))
    assert date.isoformat() == "1970-01-01T00:00:00+00:00"


def test_class_names_come_from_the_metadata(tmp_path):
    import datasets

    features = datasets.Features(
        {"text": datasets.Value("string"), "label": datasets.ClassLabel(names=["p", "n"])}
    )
    data = datasets.Dataset.from_dict({"text": ["a"], "label": [0]}, features=features)
    data.to_parquet(str(tmp_path / "a.parquet"))
    assert open_parquet(tmp_path / "a.parquet", ReadOptions()).class_names == {"label": ("p", "n")}


def test_class_names_are_found_next_to_a_list_of_structs(tmp_path):
    """As `datasets` 3 wrote the images of the Amazon release of 2023."""
    images = [{"url": {"dtype": "string", "_type": "Value"}}]
    features = {"images": images, "label": {"names": ["p", "n"], "_type": "ClassLabel"}}
    stored = json.dumps({"info": {"features": features}})
    table = pa.table({"label": [0]}).replace_schema_metadata({"huggingface": stored})
    pq.write_table(table, tmp_path / "a.parquet")
    assert open_parquet(tmp_path / "a.parquet", ReadOptions()).class_names == {"label": ("p", "n")}


@pytest.mark.parametrize("stored", [{"fingerprint": "0a"}, {"info": {"features": None}}])
def test_metadata_without_features_names_no_classes(tmp_path, stored):
    table = pa.table({"label": [0]}).replace_schema_metadata({"huggingface": json.dumps(stored)})
    pq.write_table(table, tmp_path / "a.parquet")
    assert open_parquet(tmp_path / "a.parquet", ReadOptions()).class_names == {}


def test_an_arrow_file_of_pandas_or_polars_is_read(tmp_path):
    table = pa.table({"text": ["a", "b"], "label": [1, None]})
    with pa.OSFile(str(tmp_path / "a.arrow"), "wb") as file, pa.ipc.new_file(file, table.schema) as out:
        out.write_table(table, max_chunksize=1)
    assert rows(open_arrow(tmp_path / "a.arrow", ReadOptions())) == [("a", 1), ("b", None)]


@pytest.mark.parametrize("name", ["a.csv", "a.jsonl", "a.parquet", "a.arrow", "a.txt", "a.csv.gz"])
def test_a_pointer_of_git_lfs_is_named(tmp_path, name):
    write(tmp_path / name, "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n")
    for data in (tmp_path / name, tmp_path):
        with pytest.raises(UnreadableFileError, match="git lfs pull"):
            find_locations(str(data), ReadOptions()).by_split["train"][0].open()


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (COMPRESS[".gz"](b"text,label\n"), r"end in \.gz"),
        (b"PK\x03\x04...", "a ZIP archive or a workbook"),
        (b"PAR1...PAR1", r"end in \.parquet"),
    ],
    ids=["gzip", "zip", "parquet"],
)
def test_content_of_another_kind_is_named(tmp_path, content, says):
    path = write(tmp_path / "a.csv", content)
    with pytest.raises(UnreadableFileError, match=says):
        find_locations(str(path), ReadOptions()).by_split["train"][0].open()


def test_parquet_keeps_nulls_and_types(tmp_path):
    pq.write_table(pa.table({"text": ["N/A", None], "label": [1.0, None]}), tmp_path / "a.parquet")
    assert rows(open_parquet(tmp_path / "a.parquet", ReadOptions())) == [("N/A", 1.0), (None, None)]


def test_reading_parquet_does_not_keep_the_row_groups_that_were_read(tmp_path):
    texts = [f"{i:0200}" for i in range(100_000)]
    table = pa.table({"text": texts, "label": [0] * len(texts)})
    pq.write_table(
        table, tmp_path / "a.parquet", row_group_size=10_000, use_dictionary=False, compression="none"
    )
    held, table = pa.total_allocated_bytes() - table.nbytes, None
    batches = open_parquet(tmp_path / "a.parquet", ReadOptions()).read(["text"])
    growth = [pa.total_allocated_bytes() - held for _ in batches]
    # The file has 20 MB.
    assert max(growth) < 10_000_000


@pytest.mark.parametrize("value", ["good", '"say \\"no\\""'])
def test_blank_lines_of_csv_are_no_rows_and_are_counted(tmp_path, value):
    source = read_csv(tmp_path, f"\ntext,label\n{value},1\n\n\nbad,0\n")
    assert [label for _, label in rows(source, "text", "label")] == ["1", "0"]
    assert "3 blank lines, which are no rows" in source.notes
