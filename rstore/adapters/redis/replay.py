"""What a projection is folded from: a snapshot and what follows it, in one consistent read."""

from __future__ import annotations

import time
from operator import attrgetter
from typing import Final, NamedTuple

from rstore.adapters.redis.cluster.router import Servers
from rstore.adapters.redis.keys import Partition, damaged, packed_time, stored_head, unpack_record
from rstore.adapters.redis.lua import LAYOUT, NUMBERS, Script
from rstore.adapters.redis.snapshot import Snapshot, head_of
from rstore.domain.log import Record, Replay
from rstore.domain.rules import folded_version
from rstore.domain.spans import TIME_MIN
from rstore.domain.streams import SS, Stream

# What a projection is folded from, in one round trip. Only for a log that may write: others need no such permission.
REPLAY: Final = Script(
    "#!lua flags=no-writes\n"
    + NUMBERS
    + LAYOUT
    + r"""
local H, R, I, SNAPSHOTS, SNAPSHOT_SPANS = KEYS[1], KEYS[2], KEYS[3], KEYS[5], KEYS[6]
local after, last, horizon, moment = tonumber(ARGV[1]), ARGV[2], ARGV[3], ARGV[4]
local ABOVE = string.rep("\255", 33)
local head = load_head(H, R)
if not head then return false end

local function is_lost(version)  -- records of earlier units may be; others were folded under this incarnation
  return version > head.floor and version < base_of(head.version)
    and redis.call("HEXISTS", R, text(version)) == 0
end
if after and after > 0 and is_lost(after) then  -- then a fold of it is of no use, as after a rewrite
  local packed = redis.call("GETRANGE", H, 0, -1)
  return {packed:sub(1, 8) .. packed:sub(1, 8) .. packed:sub(17), false}
end

local function version_in(span) return text((struct.unpack(">I8", span, 10))) end

local function newest_snapshot()
  local high, size = "(" .. "\0" .. horizon .. ABOVE, 1
  while true do
    local spans = redis.call("ZRANGE", SNAPSHOT_SPANS, high, "[" .. "\0", "BYLEX", "REV", "LIMIT", 0, size)
    for _, span in ipairs(spans) do
      if not is_later(span:sub(26, 33), moment) then return redis.call("HGET", SNAPSHOTS, version_in(span)) end
    end
    if #spans < size then return false end
    high, size = "(" .. spans[#spans], 256
  end
end

local snapshot = false
if not after then
  after = 0
  snapshot = newest_snapshot()
  if snapshot then
    local item = struct.unpack(">I2", snapshot, 42)
    after = tonumber(snapshot:sub(50, 49 + item)) or 0
  end
end

local versions = {}
if after > 0 and head.version - after <= 2 * head.filed then  -- dense, but for what was dropped
  for version = after + 1, head.version do versions[#versions + 1] = text(version) end
elseif after < head.version then
  for level = 0, 63 do
    if bit.band(head.levels:byte(8 - math.floor(level / 8)), bit.lshift(1, level % 8)) > 0 then
      local low = string.char(level)
      for _, span in ipairs(redis.call("ZRANGE", I, "[" .. low, "(" .. low .. last .. ABOVE, "BYLEX")) do
        if struct.unpack(">I8", span, 10) > after and not is_later(span:sub(26, 33), moment) then
          versions[#versions + 1] = version_in(span)
        end
      end
    end
  end
end

local answer = {redis.call("GETRANGE", H, 0, -1), snapshot}
for _, version in ipairs(versions) do
  local record = redis.call("HGET", R, version)
  if record and not is_later(record:sub(17, 24), moment) then answer[#answer + 1] = record end
end
return answer
"""
)


class Asked(NamedTuple):
    """What is asked of ``Log.replay``."""

    end: int
    horizon: int
    after: int | None
    until: int


def replay_by_script(node: Servers, home: Partition, stream: Stream, asked: Asked) -> Replay | None:
    """Return what ``Log.replay`` does, in one round trip."""
    end, horizon, after, until = asked
    keys = *home.living(stream), *home.living(Stream(SS, stream.key))
    times = packed_time(end), packed_time(min(end, horizon)), packed_time(until)
    answer = node.at(home.slot).query(REPLAY, keys, b"" if after is None else b"%d" % after, *times)
    if answer is None:
        return None
    packed, found, *tail = answer
    head, snapshot = stored_head(packed), unpack_record(found) if found else None
    if folded_version(snapshot) > head.version:
        raise damaged()
    records = sorted(map(unpack_record, tail), key=attrgetter("start", "version"))
    counted = [record for record in records if record.start <= end and record.recorded <= until]
    return Replay(head.shown(stream), snapshot, counted)


def replay_by_reads(node: Servers, home: Partition, stream: Stream, asked: Asked) -> Replay | None:
    """Do without the script, which asks for more than permission to read."""
    end, horizon, after, until = asked
    if after is not None:
        return _replay_after(node, home, stream, asked, after)
    deadline, era = time.monotonic() + node.server.timeout, None
    while True:
        head = head_of(node, home, stream)
        if head is None:
            return None
        snapshot = _newest_snapshot(node, home, Stream(SS, stream.key), min(end, horizon), until)
        folded = folded_version(snapshot)
        if folded > head.version:
            # it was made after the head was read, or after a rewrite; if neither was, it folds what never was
            if era == (head.version, head.era) or time.monotonic() > deadline:
                raise damaged()
            era = head.version, head.era
            continue
        records = Snapshot(node, home, stream, head).select(TIME_MIN, end, after=folded, until=until)
        return Replay(head.shown(stream), snapshot, list(records))


def _replay_after(node: Servers, home: Partition, stream: Stream, asked: Asked, after: int) -> Replay | None:
    head = head_of(node, home, stream)
    if head is None:
        return None
    seen = Snapshot(node, home, stream, head)
    if head.is_before_gap(after) and not seen.has(after):
        return Replay(head.shown(stream)._replace(floor=head.version), None, [])
    return Replay(head.shown(stream), None, list(seen.select(TIME_MIN, asked.end, after=after, until=asked.until)))


def _newest_snapshot(node: Servers, home: Partition, snapshots: Stream, end: int, until: int) -> Record | None:
    head = head_of(node, home, snapshots)
    if head is None:
        return None
    return next(Snapshot(node, home, snapshots, head).select(TIME_MIN, end, until=until, reverse=True), None)
