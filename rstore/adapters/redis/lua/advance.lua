#!lua flags=allow-oom
--- Lets a partition give out only greater positions than one that was seen.
--- @include "parts/catch_up"

catch_up(ARGV[1])
return 1
