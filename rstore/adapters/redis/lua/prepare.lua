#!lua
--- Checks all that write.lua checks, and keeps the call for later. Until the transaction is over, no other writer can
--- write to these streams.
---
--- In the stored words, a prepared call is a `promise`, and its streams are `promised`.

local PROMISE, PROMISED = table.remove(KEYS), table.remove(KEYS)
local txid = table.remove(ARGV)
--- @include "parts/numbers"
--- @include "parts/records"
--- @include "parts/append_each"

local function keep(names, moment)
  change_names("HSET", PROMISED, names, txid)
  redis.call("RPUSH", PROMISE, #KEYS)
  for _, words in ipairs({KEYS, ARGV}) do
    for at = 1, #words, 1000 do
      redis.call("RPUSH", PROMISE, unpack(words, at, math.min(at + 999, #words)))
    end
  end
  return {"done", moment}
end
if redis.call("EXISTS", PROMISED) == 0 then
  local heads, _, highest, moment = checked_heads(NOTHING)
  if heads and checked_space(highest) then return keep(names_of_each(), moment) end
end
local function promised_to(op) return redis.call("HGET", PROMISED, op.name) end
--- @include "parts/writer"

local space = load_space()
if not space then return {"gone"} end
local ops, refusal = checked_ops(space)
if not ops then return refusal end
local names = {}
for at, op in ipairs(ops) do
  names[at] = op.name
  if op.stage then redis.call("PERSIST", op.stage) end
end
return keep(names, moment_of(ops, NEVER))
