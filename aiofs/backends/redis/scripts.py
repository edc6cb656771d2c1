"""The steps that must not be divided, in Lua: each runs alone on the server, whole or not at all.

A file is a string, or a hash that names the parts of one too large for a string (its manifest). A lock's value begins
with its holder's token, which is the fence; sessions that were published under it are noted behind that, one a line,
so that a step which is asked for again, because its answer was lost, is not taken twice.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field

_COMMON = """
local function held(lock, token)
  local value = redis.call('GET', lock)
  return value and string.sub(value, 1, #token) == token and value
end

local function noted(value, session)
  return string.find(value, '\\n' .. session, 1, true) ~= nil
end

local function part(id, number, tail)
  return '.aiofs-part:' .. id .. '.' .. number .. tail
end

local function manifest(key)
  local found = redis.call('HMGET', key, 'aiofs', 'size', 'part', 'count', 'tail')
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

local function version(key)
  local kind, parts = file(key)
  if kind == 'string' then return redis.sha1hex(redis.call('GET', key)) end
  return kind == 'parts' and parts.id or ''
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

-- Parts that a reader still has open live on until it has closed them, or stops asking.
local function free(parts)
  if not parts then return end
  local life = redis.call('PTTL', '.aiofs-pin:' .. parts.id .. parts.tail)
  for number = 0, parts.count - 1 do
    local name = part(parts.id, number, parts.tail)
    if life > 0 then redis.call('PEXPIRE', name, life) else redis.call('UNLINK', name) end
  end
end

local function live_for(key, ttl)
  if ttl > 0 then redis.call('PEXPIRE', key, ttl) else redis.call('PERSIST', key) end
end

local function keep_manifest(key, id, size, part_size, count, tail, ttl)
  local name = part(id, 'manifest', tail)
  redis.call('HSET', name, 'aiofs', id, 'size', size, 'part', part_size, 'count', count, 'tail', tail)
  redis.call('RENAME', name, key)
  live_for(key, ttl)
  for number = 0, count - 1 do live_for(part(id, number, tail), ttl) end
end

local function staged(id, count, tail)
  local total = 0
  for number = 0, count - 1 do total = total + redis.call('STRLEN', part(id, number, tail)) end
  return total
end
"""


@dataclass(frozen=True)
class Script:
    """A step, known to the server by its digest once it has seen it."""

    body: str
    source: str = field(init=False)
    digest: str = field(init=False)

    def __post_init__(self) -> None:
        source = _COMMON + self.body
        object.__setattr__(self, "source", source)
        object.__setattr__(self, "digest", hashlib.sha1(source.encode(), usedforsecurity=False).hexdigest())


LOCK = Script("""-- KEYS: lock. ARGV: token, its whole value, life. Returns who holds it, or nothing if it is ours now.
local value = redis.call('GET', KEYS[1])
if value and string.sub(value, 1, #ARGV[1]) ~= ARGV[1] then return value end
redis.call('SET', KEYS[1], value or ARGV[2], 'PX', ARGV[3])
return false
""")

RENEW = Script("""-- KEYS: lock, what is staged under it ... ARGV: token, life, life of what is staged.
if not held(KEYS[1], ARGV[1]) then return 0 end
redis.call('PEXPIRE', KEYS[1], ARGV[2])
for number = 2, #KEYS do
  if redis.call('PTTL', KEYS[number]) > 0 then redis.call('PEXPIRE', KEYS[number], ARGV[3]) end
end
return 1
""")

RELEASE = Script("""-- KEYS: lock. ARGV: token.
return held(KEYS[1], ARGV[1]) and redis.call('DEL', KEYS[1]) or 0
""")

STAT = Script("""-- KEYS: file. Returns its size and version.
local kind = file(KEYS[1])
return (kind == 'string' or kind == 'parts') and {size(KEYS[1]), version(KEYS[1])} or false
""")

OPEN = Script("""-- KEYS: file, pin of a string. ARGV: start, stop, largest to give whole, match, life of a pin.
local kind, parts = file(KEYS[1])
if kind == 'none' or kind == 'foreign' then return {'missing'} end
if ARGV[4] ~= '*' and version(KEYS[1]) ~= ARGV[4] then return {'changed'} end
if kind == 'parts' then
  local pin = '.aiofs-pin:' .. parts.id .. parts.tail
  redis.call('INCR', pin)
  redis.call('PEXPIRE', pin, ARGV[5])
  return {'parts', parts.size, parts.id, parts.part, parts.count, parts.tail}
end
local size = redis.call('STRLEN', KEYS[1])
if size <= tonumber(ARGV[3]) then return {'whole', redis.call('GET', KEYS[1])} end
redis.call('COPY', KEYS[1], KEYS[2], 'REPLACE')
redis.call('PEXPIRE', KEYS[2], ARGV[5])
return {'pinned', size, version(KEYS[1]), redis.call('GETRANGE', KEYS[1], ARGV[1], ARGV[2])}
""")

TOUCH = Script("""-- KEYS: pin, parts it stands for ... ARGV: life of a pin. A reader is still there.
redis.call('PEXPIRE', KEYS[1], ARGV[1])
for number = 2, #KEYS do
  if redis.call('PTTL', KEYS[number]) > 0 then redis.call('PEXPIRE', KEYS[number], ARGV[1]) end
end
""")

UNPIN = Script("""-- KEYS: file, pin. ARGV: id, count, tail. A reader of parts is done; the last one frees them.
if redis.call('EXISTS', KEYS[2]) == 0 or redis.call('DECR', KEYS[2]) > 0 then return end
redis.call('DEL', KEYS[2])
local _, parts = file(KEYS[1])
if not parts or parts.id ~= ARGV[1] then free({id = ARGV[1], count = tonumber(ARGV[2]), tail = ARGV[3]}) end
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
  redis.call('APPEND', KEYS[2], '\\n' .. id)
  if ARGV[10] then
    redis.call('SET', KEYS[1], ARGV[10])
    live_for(KEYS[1], ttl)
  elseif count == 1 then
    redis.call('RENAME', part(id, 0, ARGV[6]), KEYS[1])
    live_for(KEYS[1], ttl)
  else
    keep_manifest(KEYS[1], id, ARGV[7], ARGV[8], count, ARGV[6], ttl)
  end
  free(replaced)
end
return {'ok', ARGV[5] ~= '' and ARGV[5] or version(KEYS[1])}
""")

ABORT = Script("""-- KEYS: file, parts ... ARGV: id. A commit whose answer was lost may have made them part of the file.
local _, parts = file(KEYS[1])
if parts and parts.id == ARGV[1] then return end
for number = 2, #KEYS do redis.call('UNLINK', KEYS[number]) end
""")

DELETE = Script("""-- KEYS: file, lock, file, lock ... ARGV: match, whether files may be missing, token (or "") of each.
for number = 1, #KEYS / 2 do
  local key, token = KEYS[2 * number - 1], ARGV[2 + number]
  local lock = redis.call('GET', KEYS[2 * number])
  if token == '' and lock then return {'locked', number, lock} end
  if token ~= '' and not held(KEYS[2 * number], token) then return {'lost', number} end
  local kind = file(key)
  if (kind == 'none' or kind == 'foreign') and ARGV[2] == '0' then return {'missing', number} end
  if ARGV[1] ~= '*' and version(key) ~= ARGV[1] then return {'changed', number} end
end
for number = 1, #KEYS, 2 do
  local kind, parts = file(KEYS[number])
  if kind == 'string' or kind == 'parts' then redis.call('UNLINK', KEYS[number]) end
  free(parts)
end
return {'ok'}
""")

COPY = Script("""-- KEYS: source, target, lock. ARGV: token, id, match, ttl, tail.
local lock = held(KEYS[3], ARGV[1])
if not lock then return {'lost'} end
local ttl = tonumber(ARGV[4])
if not noted(lock, ARGV[2]) then
  local kind, parts = file(KEYS[1])
  if kind == 'none' or kind == 'foreign' then return {'missing'} end
  local refused = refusal(KEYS[2], ARGV[3])
  if refused then return {refused} end
  local _, replaced = file(KEYS[2])
  redis.call('APPEND', KEYS[3], '\\n' .. ARGV[2])
  if parts then
    for number = 0, parts.count - 1 do
      redis.call('COPY', part(parts.id, number, parts.tail), part(ARGV[2], number, ARGV[5]), 'REPLACE')
    end
    keep_manifest(KEYS[2], ARGV[2], parts.size, parts.part, parts.count, ARGV[5], ttl)
  else
    redis.call('COPY', KEYS[1], KEYS[2], 'REPLACE')
    live_for(KEYS[2], ttl)
  end
  free(replaced)
end
return {'ok', size(KEYS[2])}
""")

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
