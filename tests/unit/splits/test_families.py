"""The table of families: what it states, what it refuses, and the table of the repository."""

import pytest

from avdfd.core.errors import UserError
from avdfd.splits.families import COLUMNS, Families, Part, read_families
from tests.paths import ROOT

HEAD = ",".join(COLUMNS)


def write(tmp_path, *lines, head=HEAD, encoding="utf-8"):
    path = tmp_path / "families.csv"
    path.write_bytes("\n".join([head, *lines]).encode(encoding))
    return path


def test_parts_of_a_method_on_a_page(tmp_path):
    rows = ("AutoVC,,WaveNet,AutoVC,2019,paper", "AutoVC,page/b,Parallel WaveGAN;WaveRNN,AutoVC,2019,page")
    table = read_families(write(tmp_path, *rows))
    assert table.parts("autovc", "page/a") == {Part("vocoder", "wavenet"), Part("converter", "autovc")}
    expected = {Part("vocoder", "parallel wavegan"), Part("vocoder", "wavernn"), Part("converter", "autovc")}
    assert table.parts("AutoVC", "page/b") == expected
    assert table.parts("VITS", "page/a") == frozenset()
    assert table.unknown(["VITS", "AUTOVC", "A", "A"]) == ["A", "VITS"]
    assert Families().unknown(["VITS"]) == ["VITS"]


def test_byte_order_mark_and_order_of_columns(tmp_path):
    path = write(tmp_path, "2019, paper ,WaveNet,,,AutoVC", head="year,source,vocoder,page,converter,method")
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    assert read_families(path).parts("AutoVC", "") == {Part("vocoder", "wavenet")}


@pytest.mark.parametrize(
    ("head", "line", "message"),
    [
        (HEAD.replace("vocoder", "vocodr"), "", r"unknown column 'vocodr'; did you mean 'vocoder'\?"),
        (HEAD.replace(",year", ""), "", "has no column 'year'"),
        (HEAD.replace("year", "page"), "", "twice the column 'page'"),
        (HEAD, "a,,V,,2020,s\nA,,W,,2020,s", r"line 3: 'A' is listed twice"),
        (HEAD, "a,p,V,,2020,s\na,p,W,,2020,s", r"line 3: 'a' is listed twice for p"),
        (HEAD, ",,V,,2020,s", "line 2: has no method"),
        (HEAD, "a,,;,,2020,s", "line 2: 'a' has neither a vocoder nor a converter"),
        (HEAD, "a,,V,,2020,", "line 2: 'a' has no source"),
        (HEAD, "a,,V,,20,s", "line 2: year '20'; write four digits"),
        (HEAD, "a,,V,,2020,s,more", "line 2: more cells than columns"),
        (HEAD, 'a,,"V,,2020,s', "cannot be read as CSV"),
    ],
)
def test_wrong_tables(tmp_path, head, line, message):
    with pytest.raises(UserError, match=message):
        read_families(write(tmp_path, line, head=head))


def test_missing_file_and_wrong_encoding(tmp_path):
    with pytest.raises(UserError, match="no such table of families"):
        read_families(tmp_path / "none.csv")
    with pytest.raises(UserError, match="cannot be read as CSV in UTF-8"):
        read_families(write(tmp_path, "é,,V,,2020,s", encoding="latin-1"))


def test_table_of_the_repository():
    table = read_families(ROOT / "data" / "splits" / "families.csv")
    pwg, wavenet = Part("vocoder", "parallel wavegan"), Part("vocoder", "wavenet")
    for method in ("VQMIVC", "StarGANv2-VC", "ParallelWaveGAN"):
        assert pwg in table.parts(method, "any")
    assert wavenet in table.parts("AutoVC", "any") & table.parts("WaveNet-MoL", "any")
    assert pwg in table.parts("AutoVC", "Wendison/VQMIVC-demo")
    assert table.unknown(["HiFi-GAN", "WaveFake-sample"]) == ["WaveFake-sample"]
