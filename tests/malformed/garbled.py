"""Bytes with a few mutations, drawn by hypothesis."""

from __future__ import annotations

from hypothesis import strategies as st

JUNK = [b"\0", b"\xff", b"\xef\xbb\xbf", b"\xed\xa0\x80", b"\t", b"\r", b"\x1b", b"{", b"]", b":", b"'", b"- ", b"&a", b"!", b"%"]  # fmt: skip


@st.composite
def garbled(draw: st.DrawFn, content: bytes) -> bytes:
    """`content` cut, with bytes inserted, changed, taken out or doubled."""
    for _ in range(draw(st.integers(1, 3))):
        start = draw(st.integers(0, max(len(content) - 1, 0)))
        end = min(start + draw(st.integers(1, 64)), len(content))
        content = draw(
            st.sampled_from(
                [
                    content[:start],
                    content[:start] + content[end:],
                    content[:end] + content[start:],
                    content[:start] + bytes(end - start) + content[end:],
                    content[:start] + draw(st.binary(min_size=1, max_size=4)) + content[start:],
                    content[:start] + draw(st.binary(min_size=1, max_size=2)) + content[start + 1 :],
                    content[:start] + draw(st.sampled_from(JUNK)) + content[start:],
                    content[:start] + draw(st.sampled_from(JUNK)) + content[start + 1 :],
                ]
            )
        )
    return content
