"""Lua scripts for steps that must happen whole or not at all: the server runs nothing else while it runs one.

A file is a string, or a hash (the manifest) that names the parts of a file that is too large for a string. A lock's
value begins with its holder's token, which is the fence. The identities of sessions that were published under the lock
follow, one a line: a script that is sent again, because its answer was lost, does not publish twice.

Scripts that only read write nothing, so they also run on a replica, on a full server, and for a user who may only read.

A version is the SHA-1 of a value. A server whose scripts cannot compute it (fakeredis) stops a script that needs it.
Then the client reads the value, computes the digest, and sends the script again, `informed` of both: it compares the
value.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING

from aiofs import clock
from aiofs.driver import Entry

if TYPE_CHECKING:
    from datetime import datetime

_INFORM = "local known_digest, known_value = table.remove(ARGV), table.remove(ARGV)"
_COMMON = """
-- Return the value of a lock that is held. A user who may not remove a lock makes it empty to release it.
local function lock_of(key)
  local value = redis.call('GET', key)
  return value and value ~= '' and value
end

local function held(lock, token)
  local value = lock_of(lock)
  return value and string.sub(value, 1, #token) == token and value
end

-- Remove a key that belongs to no file any more; a user who may not remove it makes it expire.
local function drop(key)
  local done = redis.pcall('UNLINK', key)
  if type(done) == 'table' and done.err then redis.pcall('PEXPIRE', key, 1) end
end

-- Whole lines are compared: session 10 is not session 1.
local function noted(value, session)
  return string.find(value .. '\\n', '\\n' .. session .. '\\n', 1, true) ~= nil
end

local function part(id, number, tail)
  return '.aiofs-part:' .. id .. '.' .. number .. tail
end

-- 2.0.0a1 wrote no format; it is the first.
local function manifest(key)
  local found = redis.call('HMGET', key, 'aiofs', 'size', 'part', 'count', 'tail', 'format')
  if found[1] and (found[6] or '1') ~= '1' then error('AIOFS-FORMAT ' .. found[6], 0) end
  return found[1] and {id = found[1], size = tonumber(found[2]), part = tonumber(found[3]),
                       count = tonumber(found[4]), tail = found[5]}
end

local function file(key)
  local kind = redis.call('TYPE', key).ok
  if kind == 'string' then return kind, nil end
  local parts = kind == 'hash' and manifest(key) or nil
  if parts then return 'parts', parts end
  return kind == 'none' and kind or 'foreign', nil
end

local function digest(value)
  if redis.sha1hex then return redis.sha1hex(value) end
  -- Only errors of commands pass fakeredis's server as one line; nothing else here causes this one.
  if value ~= known_value then redis.call('GETRANGE', KEYS[1], 'no digest', 0) end
  return known_digest
end

local function version(key)
  local kind, parts = file(key)
  if kind == 'string' then return digest(redis.call('GET', key)) end
  return kind == 'parts' and parts.id or ''
end

local function digests(answer, key, size, block)
  for start = 0, size - 1, block do
    answer[#answer + 1] = digest(redis.call('GETRANGE', key, start, start + block - 1))
  end
  return answer
end

local function size(key)
  local kind, parts = file(key)
  return parts and parts.size or kind == 'string' and redis.call('STRLEN', key) or 0
end

local function refusal(key, match)
  local kind = file(key)
  if kind == 'foreign' then return 'foreign' end
  if match == '*' then return nil end
  if match == '' then return kind ~= 'none' and 'exists' or nil end
  return version(key) ~= match and 'changed' or nil
end

local function free(parts)
  for number = 0, (parts and parts.count or 0) - 1 do
    drop(part(parts.id, number, parts.tail))
  end
end

local function live_for(key, ttl)
  if ttl > 0 then redis.call('PEXPIRE', key, ttl) else redis.call('PERSIST', key) end
end

local function keep_manifest(key, id, size, part_size, count, tail, ttl)
  local name = part(id, 'manifest', tail)
  redis.call('HSET', name, 'aiofs', id, 'size', size, 'part', part_size, 'count', count, 'tail', tail, 'format', 1)
  live_for(name, ttl)
  for number = 0, count - 1 do live_for(part(id, number, tail), ttl) end
  redis.call('RENAME', name, key)
end

local function staged(id, count, tail)
  local total = 0
  for number = 0, count - 1 do total = total + redis.call('STRLEN', part(id, number, tail)) end
  return total
end
"""


_COMMAND = re.compile(r"redis\.p?call\('([A-Z]+)'")


def digest_of(data: bytes | memoryview) -> str:
    """Return the SHA-1 of bytes, in hexadecimal digits as the server's."""
    return hashlib.sha1(data, usedforsecurity=False).hexdigest()


def entry_of(path: str, size: int, version: str, expires: datetime | None = None) -> Entry:
    """Return the entry of a file. The version of a value is its SHA-1; that of a file in parts has a hyphen."""
    return Entry(path, size, version=version, digest=None if "-" in version else f"sha1:{version}", expires=expires)


def expiry_in(left: int) -> datetime | None:
    """Return when a file goes away, given the milliseconds that the server says it has left."""
    return None if left < 0 else clock.now() + timedelta(milliseconds=left)


@dataclass(frozen=True)
class ScriptText:
    """The text of a script, and the digest by which the server knows it once it has seen it."""

    source: str
    digest: str = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "digest", digest_of(self.source.encode()))

    @property
    def commands(self) -> list[str]:
        """The commands that the script may run."""
        return sorted(set(_COMMAND.findall(self.source)))


class Script(ScriptText):
    """A script. `informed` is the same script, which takes a value and its digest after its other arguments.

    `digested` is the index of the key whose version it may need.
    """

    def __init__(self, body: str, *, digested: int = 0) -> None:
        super().__init__(f"local known_digest, known_value{_COMMON}{body}")
        object.__setattr__(self, "informed", ScriptText(f"{_INFORM}{_COMMON}{body}"))
        object.__setattr__(self, "digested", digested)

    informed: ScriptText
    digested: int


LOCK = Script("""-- KEYS: lock. ARGV: token, its whole value, life. Returns another holder's value, or nothing.
local value = lock_of(KEYS[1])
if value and string.sub(value, 1, #ARGV[1]) ~= ARGV[1] then return value end
redis.call('SET', KEYS[1], value or ARGV[2], 'PX', ARGV[3])
return false
""")

NUMBERED_LOCK = Script("""-- KEYS: lock, number. ARGV: token, its whole value, life, life of the number, time.
-- Returns another holder's value, or the number in a list. It is the server's time in microseconds, or the client's if
-- this user may not ask for that, or more: so it grows also if a failover lost the last number.
local value = lock_of(KEYS[1])
if value and string.sub(value, 1, #ARGV[1]) ~= ARGV[1] then return value end
local now = redis.pcall('TIME')
now = now.err and tonumber(ARGV[5]) or tonumber(now[1]) * 1000000 + tonumber(now[2])
local last = tonumber(redis.call('GET', KEYS[2]) or '0') or 0
local number = string.format('%.0f', math.max(last + 1, now))
redis.call('SET', KEYS[2], number, 'PX', ARGV[4])
redis.call('SET', KEYS[1], value or ARGV[2], 'PX', ARGV[3])
return {number}
""")

RENEW = Script("""-- KEYS: lock, what is staged under it ... ARGV: token, life, life of what is staged.
-- What was published meanwhile lives for a time of its own.
local lock = held(KEYS[1], ARGV[1])
if not lock then return 0 end
redis.call('PEXPIRE', KEYS[1], ARGV[2])
for number = 2, #KEYS do
  local id = string.match(KEYS[number], '^%.aiofs%-part:([^.]*)%.')
  if redis.call('PTTL', KEYS[number]) > 0 and not (id and noted(lock, id)) then
    redis.call('PEXPIRE', KEYS[number], ARGV[3])
  end
end
return 1
""")

RELEASE = Script("""-- KEYS: lock. ARGV: token. A user who may not remove it makes it empty, which means free.
if not held(KEYS[1], ARGV[1]) then return 0 end
local done = redis.pcall('DEL', KEYS[1])
if type(done) == 'table' and done.err then redis.call('SET', KEYS[1], '', 'PX', 1) end
return 1
""")

STAT = Script("""-- KEYS: file. Returns its size and version, and how long it lives, -1 for ever.
local kind = file(KEYS[1])
if kind ~= 'string' and kind ~= 'parts' then return false end
return {size(KEYS[1]), version(KEYS[1]), redis.call('PTTL', KEYS[1])}
""")

OPEN = Script("""-- KEYS: file. ARGV: start, stop or -1, match, what is much, largest to return whole, size of a block.
-- If the file is not returned whole, its version comes with the requested bytes, or with the digests of all blocks.
-- The second field of each answer is how long the file lives, -1 for ever.
local kind, parts = file(KEYS[1])
if kind == 'none' or kind == 'foreign' then return {'missing'} end
local size, start, stop, much = size(KEYS[1]), tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[4])
stop = stop < 0 and size or math.min(stop, size)
local whole = not parts and (size <= much or start == 0 and stop >= much and size <= tonumber(ARGV[5]))
local found = (not whole or ARGV[3] ~= '*') and version(KEYS[1])
if ARGV[3] ~= '*' and found ~= ARGV[3] then return {'changed'} end
local left = redis.call('PTTL', KEYS[1])
if parts then return {'parts', left, size, found, parts.part, parts.count, parts.tail} end
if whole then return {'whole', left, redis.call('GET', KEYS[1])} end
if stop - start >= much then return digests({'blocks', left, size, found}, KEYS[1], size, tonumber(ARGV[6])) end
return {'range', left, size, found, stop > start and redis.call('GETRANGE', KEYS[1], start, stop - 1) or ''}
""")

BLOCKS = Script("""-- KEYS: file. ARGV: match, size of a block. Returns the digests of all blocks of this version.
if version(KEYS[1]) ~= ARGV[1] then return {'changed'} end
return digests({'ok'}, KEYS[1], size(KEYS[1]), tonumber(ARGV[2]))
""")

COPY_RANGE = Script("""-- KEYS: from, to. ARGV: first, last, offset, life of what is staged.
local bytes = redis.call('GETRANGE', KEYS[1], ARGV[1], ARGV[2])
redis.call('SETRANGE', KEYS[2], ARGV[3], bytes)
redis.call('PEXPIRE', KEYS[2], ARGV[4])
return #bytes
""")

CUT = Script("""-- KEYS: part. ARGV: size, life of what is staged.
local bytes = ARGV[1] == '0' and '' or redis.call('GETRANGE', KEYS[1], 0, ARGV[1] - 1)
redis.call('SET', KEYS[1], bytes, 'PX', ARGV[2])
""")

PREPARE = Script("""-- KEYS: file, lock. ARGV: token, id, count, tail, size, match. Returns the version to be replaced.
if not held(KEYS[2], ARGV[1]) then return {'lost'} end
if staged(ARGV[2], ARGV[3], ARGV[4]) ~= tonumber(ARGV[5]) then return {'gone'} end
for number = 0, ARGV[3] - 1 do redis.call('PERSIST', part(ARGV[2], number, ARGV[4])) end
return {'ok', ARGV[6] == '*' and version(KEYS[1]) or ARGV[6]}
""")

COMMIT = Script("""-- KEYS: file, lock. ARGV: token, id, match, ttl, version if known, tail, size, size of a part,
-- count, and the whole value if nothing is staged.
local lock = held(KEYS[2], ARGV[1])
if not lock then return {'lost'} end
local id, ttl, count = ARGV[2], tonumber(ARGV[4]), tonumber(ARGV[9])
if not noted(lock, id) then
  local refused = refusal(KEYS[1], ARGV[3])
  if refused then return {refused} end
  if not ARGV[10] and staged(id, count, ARGV[6]) ~= tonumber(ARGV[7]) then return {'gone'} end
  local _, replaced = file(KEYS[1])
  -- Publishing comes last: if the user may not run one of these commands, no file has changed.
  redis.call('APPEND', KEYS[2], '\\n' .. id)
  if ARGV[10] then
    if ttl > 0 then redis.call('SET', KEYS[1], ARGV[10], 'PX', ttl) else redis.call('SET', KEYS[1], ARGV[10]) end
  elseif count == 1 then
    live_for(part(id, 0, ARGV[6]), ttl)
    redis.call('RENAME', part(id, 0, ARGV[6]), KEYS[1])
  else
    keep_manifest(KEYS[1], id, ARGV[7], ARGV[8], count, ARGV[6], ttl)
  end
  free(replaced)
end
return {'ok', ARGV[5] ~= '' and ARGV[5] or version(KEYS[1])}
""")

ABORT = Script("""-- KEYS: file, parts ... ARGV: id. A commit whose answer was lost may have published them.
local _, parts = file(KEYS[1])
if parts and parts.id == ARGV[1] then return end
for number = 2, #KEYS do drop(KEYS[number]) end
""")

DELETE = Script("""-- KEYS: file, lock, file, lock ... ARGV: match, whether files may be missing, token (or "") of each.
for number = 1, #KEYS / 2 do
  local key, token = KEYS[2 * number - 1], ARGV[2 + number]
  local lock = lock_of(KEYS[2 * number])
  if token == '' and lock then return {'locked', number, lock} end
  if token ~= '' and not held(KEYS[2 * number], token) then return {'lost', number} end
  local kind = file(key)
  if (kind == 'none' or kind == 'foreign') and ARGV[2] == '0' then return {'missing', number} end
  if ARGV[1] ~= '*' and kind ~= 'none' and version(key) ~= ARGV[1] then return {'changed', number} end
end
for number = 1, #KEYS, 2 do
  local kind, parts = file(KEYS[number])
  if kind == 'string' or kind == 'parts' then redis.call('UNLINK', KEYS[number]) end
  free(parts)
end
return {'ok'}
""")

COPY = Script(
    """-- KEYS: source, target, lock. ARGV: token, id, match, ttl, tail. A copy without a ttl has that of the source.
local lock = held(KEYS[3], ARGV[1])
if not lock then return {'lost'} end
local ttl = tonumber(ARGV[4])
if not noted(lock, ARGV[2]) then
  local kind, parts = file(KEYS[1])
  if kind == 'none' or kind == 'foreign' then return {'missing'} end
  local refused = refusal(KEYS[2], ARGV[3])
  if refused then return {refused} end
  if ttl == 0 then ttl = math.max(redis.call('PTTL', KEYS[1]), 0) end
  local _, replaced = file(KEYS[2])
  redis.call('APPEND', KEYS[3], '\\n' .. ARGV[2])
  if parts then
    for number = 0, parts.count - 1 do
      redis.call('COPY', part(parts.id, number, parts.tail), part(ARGV[2], number, ARGV[5]), 'REPLACE')
    end
    keep_manifest(KEYS[2], ARGV[2], parts.size, parts.part, parts.count, ARGV[5], ttl)
  else
    local name = part(ARGV[2], 'copy', ARGV[5])
    redis.call('COPY', KEYS[1], name, 'REPLACE')
    live_for(name, ttl)
    redis.call('RENAME', name, KEYS[2])
  end
  free(replaced)
end
return {'ok', size(KEYS[2])}
""",
    digested=1,
)

MOVE = Script("""-- KEYS: source, target, lock of each. ARGV: token of each, id, tail of the target.
local lock = held(KEYS[4], ARGV[2])
if not lock or not held(KEYS[3], ARGV[1]) then return {'lost'} end
if not noted(lock, ARGV[3]) then
  local kind, parts = file(KEYS[1])
  if kind == 'none' or kind == 'foreign' then return {'missing'} end
  local refused = refusal(KEYS[2], '*')
  if refused then return {refused} end
  local _, replaced = file(KEYS[2])
  redis.call('APPEND', KEYS[4], '\\n' .. ARGV[3])
  if parts then
    for number = 0, parts.count - 1 do
      redis.call('RENAME', part(parts.id, number, parts.tail), part(parts.id, number, ARGV[4]))
    end
    redis.call('HSET', KEYS[1], 'tail', ARGV[4])
  end
  redis.call('RENAME', KEYS[1], KEYS[2])
  free(replaced)
end
return {'ok', size(KEYS[2])}
""")
