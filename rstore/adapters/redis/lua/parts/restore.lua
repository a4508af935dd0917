--- Copies: records that come from another log, with their own versions.
---
--- A part of such an op is a version and a place, then what follows the position in a record. The place is the number
--- of the record among all that are restored at once; `first` is the position before all of these. The feed gets its
--- entries when all of them are known, since a stream of Redis takes ids only in increasing order.

local function restore(op, space, first, fed)
  local version, known = op.expect, op.head and op.head.version or 0
  if not op.head then
    redis.call("ZADD", ALL, 0, op.name)
    op.head = {version = 0, floor = 0, died = 0, era = space.n, newest = 0, filed = 0,
      live = 0, recorded = NEVER, levels = NO_LEVELS}
  end
  for part in parts(op) do
    local own, place = struct.unpack(">I8I8", part)
    if own > known then
      add(op, number8(own) .. number8(first + place) .. part:sub(17))
      fed[#fed + 1] = {first + place, op.name, text(own)}
    end
    space.n = math.max(space.n, first + place)
  end
  if version < known then return known end
  if version > known then op.head.version, op.head.floor = version, version end
  op.head.died = op.floor
  set_live(op, op.live)
  store_head(op.h, op.head)
  return version
end

local function feed(fed)
  table.sort(fed, function(one, other) return one[1] < other[1] end)
  for _, entry in ipairs(fed) do
    redis.call("XADD", FEED, text(entry[1]) .. "-0", "s", entry[2], "v", entry[3])
  end
end
