"""Random damage to files, and what a reader may do with it."""

from collections.abc import Callable
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

# What editors, other programs and copies over a network leave in files.
SNIPPETS = (
    *(
        b"\xef\xbb\xbf",
        b"\xff\xfe",
        b"\xc2\xa0",
        b"\x1c",
        b"\x0c",
        b"\x00",
        b"\xff",
        b"\r",
        b"\n",
        b"\r\n",
        b"\t",
        b" ",
    ),
    *(
        b"_",
        b"nan",
        b"-inf",
        b"1e999",
        b"1_0",
        "\uff11".encode(),
        "\u2028".encode(),
        b"-",
        b":",
        b"{",
        b"[",
        b'"',
        b"0",
    ),
)


@st.composite
def damaged(draw: st.DrawFn, content: bytes) -> bytes:
    """One to three changed, removed, repeated or inserted pieces, or a cut; or the text in another encoding."""
    if draw(st.integers(0, 19)) == 0:
        encoding = draw(st.sampled_from(["utf-16", "utf-16-le", "utf-8-sig", "utf-32"]))
        return content.decode("latin-1").encode(encoding)
    for _ in range(draw(st.integers(1, 3))):
        start = draw(st.integers(0, len(content)))
        stop = draw(st.integers(start, min(start + 40, len(content))))
        pieces = [b"", 2 * content[start:stop], *SNIPPETS]
        new = draw(st.one_of(st.sampled_from(pieces), st.binary(max_size=4)))
        is_cut = draw(st.integers(0, 9)) == 0
        content = content[:start] + new + (b"" if is_cut else content[stop:])
    return content


def check_reader(read: Callable[[Path], object], path: Path, examples: int = 150) -> None:
    """Reading ``path``, damaged at random, gives a value or one line that names the file."""
    content = path.read_bytes()
    read(path)

    @settings(max_examples=examples, derandomize=True, deadline=None, database=None, suppress_health_check=HealthCheck)
    @given(damaged(content))
    def check(changed: bytes) -> None:
        path.write_bytes(changed)
        try:
            read(path)
        except (ValueError, OSError) as error:
            message = str(error)
        else:
            message = str(path)
        assert str(path) in message
        assert "\n" not in message

    check()
