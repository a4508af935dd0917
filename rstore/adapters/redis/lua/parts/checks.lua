--- Checks all ops of a call, then writes them. Redis takes nothing back, so every check comes before the first change.
---
--- The script that includes this defines `promised_to(op)`: the transaction that a stream is prepared for, if any.

local function load_space()
  local n, floor = unpack(redis.call("HMGET", META, "n", "floor"))
  if not n then return nil end
  local space = {n = tonumber(n), floor = tonumber(floor)}
  if not (space.n and space.floor and space.floor <= space.n and space.n <= MOST) then damaged() end
  local last = redis.call("XREVRANGE", FEED, "+", "-", "COUNT", 1)[1]
  if last and tonumber(last[1]:match("%d+")) > space.n then damaged() end
  return space
end

local function checked_ops(space)  -- or nil, and why they can't be written
  local ops = {}
  for at = 1, tonumber(arg()) do
    local op = read_op()
    op.head = load_head(op.h, op.r)
    if op.head and math.max(op.head.version, op.head.era) > space.n then damaged() end
    local txid = promised_to(op)
    if txid then return nil, {"promised", txid} end
    local expected, version, floor = is_expected(op)
    if not expected then return nil, {"conflict", at - 1, version, floor} end
    if op.stage and redis.call("LLEN", op.stage) ~= op.count then return nil, {"expired"} end
    ops[at] = op
  end
  return ops
end

local function moment_of(ops, least)  -- when all that is appended is recorded: none earlier than what is there
  local moment = least
  for _, op in ipairs(ops) do
    if op.verb < 2 then
      if is_later(op.recorded, moment) then moment = op.recorded end
      if op.head and op.head.newest > 0 and is_later(op.head.recorded, moment) then moment = op.head.recorded end
    end
  end
  return moment
end

local function write(ops, space, answer, moment)
  for _, op in ipairs(ops) do  -- no version is above the position
    if op.verb == 3 then space.n = math.max(space.n, op.expect) end
  end
  local first, fed = space.n, {}
  for _, op in ipairs(ops) do
    if op.verb == 3 then
      answer[#answer + 1] = restore(op, space, first, fed)
    elseif op.verb == 2 then
      local records, bytes = rewrite(op, space)
      answer[#answer + 1] = records
      answer[#answer + 1] = bytes
    else
      op.recorded = moment
      answer[#answer + 1] = append(op, space)
    end
  end
  feed(fed)
  redis.call("HSET", META, "n", text(space.n), "floor", text(space.floor))
end
