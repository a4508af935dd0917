"""What the scripts that Redis runs for us have in common. Each is atomic within a partition.

Redis takes nothing back: a script that fails half-way leaves what it did. So a write checks everything first, and what
could still fail is excluded otherwise: ``#!lua`` without flags refuses to start without memory to spare, or where
writes are refused. All keys that are touched are declared; in a cluster whose slots are moving, others would seem to be
missing. Numbers go out as text by ``%.0f``, since Lua writes large ones as 1e+15. Strings are never compared by
``<``, which asks the locale.

The scripts are in ``_redis_lua_write.py``, ``_redis_lua_transactions.py``, ``_redis_lua_namespace.py`` and
``_redis_replay.py``.
"""

from __future__ import annotations

from hashlib import sha1
from typing import Final

from attrs import field, frozen

from rstore.adapters.redis.keys import MOST, UNIT


@frozen
class Script:
    """A script, and the name that a server knows it by once it has seen it.

    One that ``advances`` gives out versions or positions: the partition whose meta is its first key has to be above all
    that its server may have lost, see ``LIFT`` in ``_redis_lua_namespace.py``.
    """

    source: str
    advances: bool = False
    sha: bytes = field(init=False)

    @sha.default
    def _sha(self) -> bytes:
        return sha1(self.source.encode(), usedforsecurity=False).hexdigest().encode()


# What somebody else has written under our keys is an error, by a code that is translated like those of the server,
# before anything is written. Unchecked, a loop from one version to another would hold up the server for ever.
NUMBERS: Final = f"""
local MOST, UNIT = {MOST}, {UNIT}
local function damaged() error({{err = "DAMAGED by somebody else"}}) end
local function base_of(n) return n - n % UNIT end
"""

# The layout of heads, records and spans is described in _redis_layout.py. Lua counts bytes from 1.
LAYOUT: Final = r"""
local NEVER, NO_LEVELS = string.rep("\0", 8), string.rep("\0", 8)

local function number8(value) return struct.pack(">I8", value) end
local function text(value) return string.format("%.0f", value) end

local function load_head(key, records)
  local packed = redis.call("GET", key)
  if not packed then return nil end
  if #packed ~= 65 and #packed < 114 then damaged() end
  local head = {recorded = packed:sub(50, 57), levels = packed:sub(58, 65)}
  head.version, head.floor, head.died, head.era, head.newest, head.filed, head.live =
    struct.unpack(">I8I8I8I8I8I8B", packed)
  if #packed > 65 then head.record = packed:sub(66) end
  if head.version > MOST or head.era > MOST or math.max(head.newest, head.floor, head.died) > head.version
    or head.live > 1 or head.filed > redis.call("HLEN", records)
    or (head.record and struct.unpack(">I8", head.record) ~= head.newest) then damaged() end
  return head
end

local function store_head(key, head)
  local fixed = struct.pack(">I8I8I8I8I8I8B",
    head.version, head.floor, head.died, head.era, head.newest, head.filed, head.live)
  redis.call("SET", key, fixed .. head.recorded .. head.levels .. (head.record or ""))
end

local function version_of(record) return (struct.unpack(">I8", record)) end
local function position_of(record) return (struct.unpack(">I8", record, 9)) end
local function span_of(record)  -- level and start, version, end, recorded
  return record:sub(25, 33) .. record:sub(1, 8) .. record:sub(34, 41) .. record:sub(17, 24)
end
local function data_size(record)
  local item, op, meta = struct.unpack(">I2I2I4", record, 42)
  return #record - 49 - item - op - math.max(meta - 1, 0)
end

local function is_later(time, other)  -- in halves: a double would lose the last bits
  local high, low = struct.unpack(">I4I4", time)
  local other_high, other_low = struct.unpack(">I4I4", other)
  return high > other_high or (high == other_high and low > other_low)
end

local function with_level(levels, record)
  local level = record:byte(25)
  local at = 8 - math.floor(level / 8)
  local mask = bit.bor(levels:byte(at), bit.lshift(1, level % 8))
  if mask == levels:byte(at) then return levels end
  return levels:sub(1, at - 1) .. string.char(mask) .. levels:sub(at + 1)
end
"""
