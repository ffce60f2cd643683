from contextlib import suppress

from tests.leaks.table import operation

from fastcore.resp import ProtocolError, Reader, RequestReader, Verbatim, encode, pack, pack_many

READER = Reader()
DECODING = Reader(encoding="utf-8")
REQUESTS = RequestReader()
REPLIES = (
    b"+OK\r\n-ERR no\r\n:5\r\n$3\r\nfoo\r\n$-1\r\n*2\r\n$1\r\na\r\n*1\r\n:1\r\n,1.5\r\n#t\r\n_\r\n"
    b"%1\r\n+k\r\n~1\r\n:1\r\n>2\r\n+message\r\n+x\r\n(123456789012345678901234567890\r\n=7\r\ntxt:abc\r\n"
)


@operation("replies", weight=10)
def replies() -> None:
    for reader in (READER, DECODING):
        reader.feed(REPLIES)
        while reader.gets() is not False:
            pass


@operation("replies in pieces", weight=40)
def pieces() -> None:
    for at in range(0, len(REPLIES), 7):
        READER.feed(REPLIES[at : at + 7])
        while READER.gets() is not False:
            pass


@operation("broken replies", weight=4)
def broken() -> None:
    reader = Reader()
    reader.feed(b"*2\r\n:1\r\n?what\r\n")
    with suppress(ProtocolError):
        reader.gets()


@operation("requests")
def requests() -> None:
    REQUESTS.feed(b"*2\r\n$3\r\nGET\r\n$1\r\na\r\nPING 'x y'\r\n*1\r\n$4\r\nPI")
    REQUESTS.feed(b"NG\r\n")


@operation("writing", weight=4)
def writing() -> None:
    pack("SET", b"key", 5, 1.5, memoryview(b"v"))
    pack_many([("GET", "a"), ["DEL", b"b"]])
    for protocol in (2, 3):
        encode([1, "a", b"b", None, 2.5, True, {"k": {1, 2}}, Verbatim(b"x"), ValueError("ERR no")], protocol)
    with suppress(TypeError):
        pack("GET", None)
