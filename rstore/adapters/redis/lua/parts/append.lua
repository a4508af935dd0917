--- Batches: entries are added to a stream, or replace all that it has.

local function new_head(op, space)
  redis.call("ZADD", ALL, 0, op.name)
  local start = math.max(space.floor, base_of(space.n))
  return {version = start, floor = start, died = 0, era = space.n, newest = 0, filed = 0,
    live = 0, recorded = NEVER, levels = NO_LEVELS}
end

local function remove_all(op, space)
  local head = op.head
  space.n = space.n + 1
  if head.record then
    redis.call("XDEL", FEED, text(position_of(head.record)) .. "-0")
  end
  if head.filed > 0 then
    open_graves(op)
    for _, version in ipairs(redis.call("HKEYS", op.r)) do
      local record = redis.call("HGET", op.r, version)
      bury(op, space.n, record)
      redis.call("XDEL", FEED, text(position_of(record)) .. "-0")
    end
    redis.call("UNLINK", op.r, op.i)
  end
  head.era, head.newest, head.filed, head.record, head.levels = space.n, 0, 0, nil, NO_LEVELS
end

local function append(op, space)
  local if_live, replace = op.option == 1, op.verb == 1
  if if_live and (not op.head or op.head.live == 0) then
    return op.head and op.head.version or 0
  end
  op.head = op.head or new_head(op, space)
  local head, recorded, base = op.head, op.recorded, base_of(space.n)
  if replace then remove_all(op, space) end
  for body in parts(op) do
    head.version, space.n = math.max(head.version, base) + 1, space.n + 1
    local version = text(head.version)
    local record = number8(head.version) .. number8(space.n) .. recorded .. body
    redis.call("XADD", FEED, text(space.n) .. "-0", "s", op.name, "v", version)
    add(op, record)
  end
  if replace then head.floor = head.version end
  if op.live == 0 then head.died = head.version end
  set_live(op, op.live)
  store_head(op.h, head)
  return head.version
end
