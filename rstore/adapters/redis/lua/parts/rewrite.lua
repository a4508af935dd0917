--- Rewrites: records leave the log, or others take their place, and a new generation of the stream begins.

local function add_if_there(op, found, version)
  if version == op.head.newest or redis.call("HEXISTS", op.r, text(version)) == 1 then
    if not found[version] then found.count = found.count + 1 end
    found[version] = true
  end
end

local function dropped_versions(op)  -- those of them that there are
  local found = {count = 0}
  if op.drop:byte(1) == 1 then
    for at = 2, #op.drop, 8 do add_if_there(op, found, (struct.unpack(">I8", op.drop, at))) end
    return found
  end
  local start, last, step = struct.unpack(">I8I8I8", op.drop, 2)
  if (last - start) / step < op.head.filed then  -- whichever is shorter: the range or the stream
    for version = start, last, step do add_if_there(op, found, version) end
    return found
  end
  local function add_if_dropped(version)
    if version >= start and version <= last and (version - start) % step == 0 then
      add_if_there(op, found, version)
    end
  end
  if op.head.newest > 0 then add_if_dropped(op.head.newest) end
  for _, version in ipairs(redis.call("HKEYS", op.r)) do add_if_dropped(tonumber(version) or 0) end
  return found
end

local function newest_version(op)
  local newest = 0
  for _, version in ipairs(redis.call("HKEYS", op.r)) do newest = math.max(newest, tonumber(version) or 0) end
  return newest
end

local function take_away(op, era, version, inline)
  local record = redis.call("HGET", op.r, text(version))
  -- a reader has got what was in the head together with it
  if version ~= inline then bury(op, era, record) end
  unfile(op, record)
  return record
end

local function forget(op, space)
  space.floor = math.max(space.floor, op.head.version)
  redis.call("UNLINK", op.h, op.r, op.i)
  redis.call("ZREM", ALL, op.name)
  redis.call("ZREM", LIVE, op.name)
end

local function rewrite(op, space)
  local head, base, records, bytes = op.head, base_of(space.n), 0, 0
  if not head then return 0, 0 end
  local dropped = dropped_versions(op)
  local live = op.live
  if live == 2 then live = head.live end
  if dropped.count == 0 and live == head.live and (live == 1 or head.newest > 0) then return 0, 0 end
  records, dropped.count = dropped.count, nil

  local inline
  if head.record then  -- filed for the time being, so that it is like all others
    file(op, head.record)
    inline, head.record = head.newest, nil
  end
  space.n = space.n + 1
  if head.filed > (inline and 1 or 0) then open_graves(op) end

  local newest = head.newest
  for part in parts(op) do
    local version = version_of(part)
    if dropped[version] then
      dropped[version] = nil
      local old = take_away(op, space.n, version, inline)
      local new = old:sub(1, 16) .. part:sub(9)
      file(op, new)
      head.levels = with_level(head.levels, new)
      head.died = math.min(head.died, version - 1)
      records, bytes = records - 1, bytes + data_size(old) - data_size(new)
    end
  end
  for version in pairs(dropped) do
    local old = take_away(op, space.n, version, inline)
    redis.call("XDEL", FEED, text(position_of(old)) .. "-0")
    bytes = bytes + data_size(old)
    if version == head.newest then newest = nil end
  end

  head.era, head.newest = space.n, newest or newest_version(op)
  if op.option == 1 then
    head.version = math.max(head.version, base) + 1
    head.floor = head.version
  end
  set_live(op, live)
  if head.newest == 0 and live == 0 then
    forget(op, space)
    return records, bytes
  end
  if head.newest == 0 then
    head.levels = NO_LEVELS
  else
    local record = redis.call("HGET", op.r, text(head.newest))
    head.recorded = record:sub(17, 24)
    if op.inline == 1 then
      unfile(op, record)
      head.record = record
    end
  end
  store_head(op.h, head)
  return records, bytes
end
