import lzma

import pytest

from sentiment.training.data.compression import open_bytes

XZ = [lzma.compress(content * 9_999) for content in (b"text,label\n", b"fine,1\n")]


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(XZ[0] + b"garbage", id="more after a stream"),
        pytest.param(XZ[0] + b"\0" * 4 + b"garbage" * 9_999, id="more after padding"),
        pytest.param(XZ[0] + b"XX" + XZ[1][2:], id="a damaged header"),
        pytest.param(XZ[0] + XZ[1][:6], id="a header that was cut off"),
        pytest.param(XZ[0] + XZ[1][:-1], id="a footer that was cut off"),
        pytest.param(XZ[0][:-9] + b"X" + XZ[0][-8:], id="a damaged footer"),
        pytest.param(b"", id="empty"),
    ],
)
def test_an_xz_file_of_which_not_all_is_streams_is_refused(tmp_path, content):
    path = tmp_path / "a.xz"
    path.write_bytes(content)
    with open_bytes(path) as file, pytest.raises((lzma.LZMAError, EOFError)):
        file.read()


@pytest.mark.parametrize("padding", [b"", b"\0" * 4, b"\0" * (1 << 22)])
def test_streams_of_xz_and_zeros_between_and_after_them_are_one_file(tmp_path, padding):
    path = tmp_path / "a.xz"
    path.write_bytes(padding.join([*XZ, b""]))
    with open_bytes(path) as file:
        assert file.read() == b"text,label\n" * 9_999 + b"fine,1\n" * 9_999
        assert file.read() == b""
