#!lua flags=allow-oom
--- Drops the call that was prepared for a transaction that has been aborted. Its uploads stay for a while: a writer
--- that tries again at once uses them.
local PROMISED, txid = KEYS[1], ARGV[1]
local promised = redis.call("HGETALL", PROMISED)
for at = 1, #promised, 2 do
  if promised[at + 1] == txid then redis.call("HDEL", PROMISED, promised[at]) end
end
redis.call("UNLINK", KEYS[2])
for at = 3, #KEYS do redis.call("EXPIRE", KEYS[at], 600) end
return 1
