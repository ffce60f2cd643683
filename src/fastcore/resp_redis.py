"""Our reader and packer inside redis-py.

    from fastcore.resp_redis import Connection
    pool = redis.ConnectionPool(connection_class=Connection, host=..., protocol=3)

or with any connection class of redis-py, `parser_class=Parser, command_packer=Packer()`. Both protocols, pub/sub and
client tracking included.

redis-py asks in several places whether a parser is its hiredis parser (maintenance notifications, time-outs), so ours
is a subclass of it: the socket is still read and pushes are still handled by redis-py's own code, and what is replaced
is the parsing. hiredis itself need not be installed.
"""

from typing import Any

import redis
from redis._parsers.hiredis import NOT_ENOUGH_DATA, _HiredisParser
from redis.exceptions import DataError, InvalidResponse

from fastcore.resp import PushNotification, Reader, pack_command

__all__ = ["Connection", "Packer", "Parser"]


class Parser(_HiredisParser):
    """redis-py's parser with our Reader in it; for `parser_class`."""

    def __init__(self, socket_read_size: int) -> None:
        self.socket_read_size = socket_read_size
        self._buffer = bytearray(socket_read_size)
        self._sock = None
        self._reader = None  # type: ignore[assignment]
        self.pubsub_push_handler_func = self.handle_pubsub_push_response
        self.node_moving_push_handler_func = None
        self.maintenance_push_handler_func = None
        self.oss_cluster_maint_push_handler_func = None
        self.invalidation_push_handler_func = None
        self._hiredis_PushNotificationType = PushNotification

    def on_connect(self, connection: Any, **kwargs: Any) -> None:
        """Begin afresh for a connection that was just made."""
        encoder = connection.encoder
        self._sock = connection._sock
        self._socket_timeout = connection.socket_timeout
        self._reader = Reader(  # type: ignore[assignment]
            protocolError=InvalidResponse,
            replyError=self.parse_error,
            encoding=encoder.encoding if encoder.decode_responses else None,
            errors=encoder.encoding_errors,
            notEnoughData=NOT_ENOUGH_DATA,
        )


class Packer:
    """For `command_packer`: commands to bytes, strings as UTF-8 (redis-py's default `encoding`)."""

    def pack(self, *args: Any) -> list[bytes]:
        """One command in one piece. DataError for an argument of a type Redis has no bytes for."""
        name = args[0]
        if isinstance(name, str):
            name = name.encode()
        if b" " in name:  # "CONFIG GET" is two arguments
            args = (*name.split(), *args[1:])
        try:
            return [pack_command(args)]
        except TypeError as error:
            raise DataError(*error.args) from None


class Connection(redis.Connection):
    """redis.Connection with both."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        kwargs.setdefault("parser_class", Parser)
        kwargs.setdefault("command_packer", Packer())
        super().__init__(*args, **kwargs)  # type: ignore[no-untyped-call]
