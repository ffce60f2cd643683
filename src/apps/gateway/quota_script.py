"""The script by which Redis counts limits that machines share: one key a call, many units at once.

It is a GCRA (cext/include/fc/gcra.h) in Redis's own time. The state of a key is "seconds:nanoseconds", the time at
which nothing is used any more, and expires then. Times are pairs, as in fastcore.limiter_redis: Lua has only doubles.
An "r" behind them says that somebody has reset the key: what machines remember of before does not count then.

A machine tells what it last knew the key had used. A Redis that has lost its memory goes on from there, and one that
was out of reach while a machine counted alone learns of it. Where the state is there, what is told counts less the time
for which an answer may have been on its way: else each question would move the state by a round trip.
"""

import hashlib
from typing import Any

from redis.exceptions import NoScriptError

#: ARGV: units wanted, and of which a multiple; ns of a unit, of the whole burst, of what the machine knew, and of an
#: answer's way: seconds and ns each. Reply: units granted; what is used now and until one request fits: seconds and ns.
GRANT = """
local function arg(i) return tonumber(ARGV[i]), tonumber(ARGV[i + 1]) end
local function pair(s, n)
  local over = math.floor(n / 1000000000)
  return s + over, n - over * 1000000000
end
local function above(s, n, than_s, than_n)
  return s > than_s or (s == than_s and n > than_n)
end
local want, cost = tonumber(ARGV[1]), tonumber(ARGV[2])
local unit_s, unit_n = arg(3)
local span_s, span_n = arg(5)
local told_s, told_n = arg(7)
local way_s, way_n = arg(9)
local now = redis.call('TIME')
local now_s, now_n = tonumber(now[1]), tonumber(now[2]) * 1000
local s, n, mark = 0, 0, ''
local found = redis.call('GET', KEYS[1])
if found then
  local tat_s, tat_n, reset = string.match(found, '^(%d+):(%d+)(r?)$')
  s, n = pair(tonumber(tat_s) - now_s, tonumber(tat_n) - now_n)
  if s < 0 then s, n = 0, 0 end
  mark = reset
  if above(s, n, span_s + 60, span_n) then s, n = span_s, span_n end
  told_s, told_n = pair(told_s - way_s, told_n - way_n)
end
if mark == '' and above(told_s, told_n, s, n) then
  s, n = told_s, told_n
  if above(s, n, span_s, span_n) then s, n = span_s, span_n end
end
local function after(units) return pair(s + units * unit_s, n + units * unit_n) end
local room = ((span_s - s) * 1e9 + (span_n - n)) / (unit_s * 1e9 + unit_n)
local units = math.floor(math.max(0, math.min(want, room + 1)) / cost) * cost
while units > 0 do
  local end_s, end_n = after(units)
  if not above(end_s, end_n, span_s, span_n) then break end
  units = units - cost
end
local wait_s, wait_n = 0, 0
if units > 0 then
  s, n = after(units)
else
  local end_s, end_n = after(cost)
  wait_s, wait_n = pair(end_s - span_s, end_n - span_n)
end
if units > 0 or s > 0 or n > 0 then
  local tat_s, tat_n = pair(now_s + s, now_n + n)
  local keep = math.max(s, mark == 'r' and span_s or 0) + 2
  redis.call('SET', KEYS[1], string.format('%d:%d', tat_s, tat_n) .. mark, 'EX', string.format('%d', keep))
end
return {units, s, n, wait_s, wait_n}
"""
_SHA = hashlib.sha1(GRANT.encode(), usedforsecurity=False).hexdigest()

NS = 1_000_000_000


def grant(client: Any, calls: list[tuple[bytes, list[int]]]) -> list[Any]:
    """Replies for (key, arguments) in their order, in one round trip; two more when Redis does not know the script."""
    replies = _pipeline(client, calls)
    if any(isinstance(reply, NoScriptError) for reply in replies):
        client.script_load(GRANT)
        missing = [at for at, reply in enumerate(replies) if isinstance(reply, NoScriptError)]
        for at, reply in zip(missing, _pipeline(client, [calls[at] for at in missing]), strict=True):
            replies[at] = reply
    for reply in replies:
        if isinstance(reply, Exception):
            raise reply
    return replies


def _pipeline(client: Any, calls: list[tuple[bytes, list[int]]]) -> list[Any]:
    pipeline = client.pipeline(transaction=False)
    for key, arguments in calls:
        pipeline.execute_command("EVALSHA", _SHA, 1, key, *arguments)
    return list(pipeline.execute(raise_on_error=False))


def forget(client: Any, key: bytes, span_ns: int) -> bool:
    """Resets a key for all machines, whatever they remember. True if it had used something."""
    before = client.set(key, b"0:0r", ex=span_ns // NS + 2, get=True)
    return before not in (None, b"0:0r")
