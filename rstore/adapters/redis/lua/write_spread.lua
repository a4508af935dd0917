#!lua
--- The same where the namespace has several partitions: it also reads the clock of the log that writes, returns the
--- last position, and leaves streams alone that are prepared for a transaction.
---
--- The additional keys and arguments come last, and are taken off first. An id of a transaction among them says that
--- this partition coordinates it: the script writes its part, and notes in the same step that all of it is decided. The
--- note comes last: should the write fail halfway, the other partitions abort. Rejected: the note before the write. Then
--- they would commit, and the caller's error would say that nothing was decided.
--- @include "parts/numbers"
--- @include "parts/append_one"
--- @include "parts/catch_up"

local NOTES, PROMISED = table.remove(KEYS), table.remove(KEYS)
local txid, least, seen = table.remove(ARGV), table.remove(ARGV), table.remove(ARGV)
catch_up(seen)
if txid == "" and ARGV[1] == "1" and redis.call("HEXISTS", PROMISED, ARGV[2]) == 0 then
  local version, n = append_one()
  if version then return {"done", n, version} end
end
--- @include "parts/records"
--- @include "parts/append_each"
--- @include "parts/forget_each"

local note = txid ~= "" and redis.call("HGET", NOTES, txid)
local answer = {"done", 0, note and least or nil}
local function done(n, moment)
  answer[2] = n
  if note then
    answer[3] = moment
    redis.call("HSET", NOTES, txid, "decided" .. moment .. note:sub(5))
  end
  return answer
end
if (txid == "" or note) and redis.call("EXISTS", PROMISED) == 0 then
  local n, moment = append_each(answer, least)
  if not n then n, moment = forget_each(answer, least) end
  if n then return done(n, moment) end
end
local function promised_to(op) return redis.call("HGET", PROMISED, op.name) end
--- @include "parts/writer"

local space = load_space()
if not space then return {"gone"} end
if txid ~= "" and not note then return {"given up"} end
local ops, refusal = checked_ops(space)
if not ops then return refusal end
local moment = moment_of(ops, least)
write(ops, space, answer, moment)
return done(space.n, moment)
