import pytest

from fastcore.path import normalise


@pytest.mark.parametrize(
    ("path", "normal"),
    [
        (b"/", b"/"),
        (b"/a/../admin", b"/admin"),
        (b"/%61dmin", b"/admin"),
        (b"/%2e%2e/%2E/x", b"/x"),
        (b"/a/%2e%2E", b"/"),
        (b"/../../a", b"/a"),
        (b"/..", b"/"),
        (b"/.", b"/"),
        (b"/a/b/.", b"/a/b/"),
        (b"/a/b/..", b"/a/"),
        (b"/a/...", b"/a/..."),
        (b"/.well-known/x", b"/.well-known/x"),
        (b"/a..b/c", b"/a..b/c"),
        (b"/%7euser/%c3%a9", b"/~user/%C3%A9"),
        (b"/%252e%252e/a", b"/%252e%252e/a"),
        (b"/a%2fb/../c", b"/c"),
        (b"/a%2f..%2fb", b"/a%2F..%2Fb"),
        (b"/a;x=1/..;/b", b"/a;x=1/..;/b"),
        (b"//a//b//", b"//a//b//"),
        (b"/a//../b", b"/a/b"),
        (b"/\xff", b"/\xff"),
    ],
)
def test_normal_form(path, normal):
    assert normalise(path) == normal


@pytest.mark.parametrize(
    ("path", "normal"),
    [(b"//a///b//", b"/a/b/"), (b"//", b"/"), (b"//..//a", b"/a"), (b"/a//../b", b"/b"), (b"/a/.//b", b"/a/b")],
)
def test_merged_slashes(path, normal):
    assert normalise(path, merge_slashes=True) == normal


def test_a_normal_path_comes_back_as_it_is():
    path = b"/api/v1/.hidden/%C3%A9"
    assert normalise(path) is path


@pytest.mark.parametrize(
    ("path", "words", "at"),
    [
        (b"", "does not begin with '/'", 0),
        (b"a/b", "does not begin with '/'", 0),
        (b"*", "does not begin with '/'", 0),
        (b"/a%", "two hexadecimal digits", 2),
        (b"/a%4", "two hexadecimal digits", 2),
        (b"/%4/a", "two hexadecimal digits", 1),
        (b"/b/%g1", "two hexadecimal digits", 3),
        (b"/b%1g", "two hexadecimal digits", 2),
        (b"/ab%00", "NUL", 3),
        (b"/ab\0c", "NUL", 3),
    ],
)
def test_refused_with_the_offset(path, words, at):
    with pytest.raises(ValueError, match=rf"{words}.*offset {at}\)"):
        normalise(path)


@pytest.mark.parametrize("path", [b"/a%2Fb", b"/a%2fb", b"/a%5cb"])
def test_encoded_slash_by_flag(path):
    assert normalise(path) == path.replace(b"f", b"F").replace(b"c", b"C")
    with pytest.raises(ValueError, match=r"encoded slash \(at offset 2\)"):
        normalise(path, refuse_encoded_slash=True)
