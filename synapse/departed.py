"""Names in the group of consumers that are long gone: each new worker would add one for ever."""

from __future__ import annotations

from redis import Redis, ResponseError

from synapse.streams import CONSUMED, GROUP

# A consumer that lives asks every half second.
GONE_SECONDS = 600.0

# In one step, for a name that is removed takes with it what it has not acknowledged.
FORGET = """
local gone = 0
for _, listed in ipairs(redis.call('XINFO', 'CONSUMERS', KEYS[1], ARGV[1])) do
    local consumer = {}
    for i = 1, #listed, 2 do consumer[listed[i]] = listed[i + 1] end
    if consumer['pending'] == 0 and consumer['idle'] > tonumber(ARGV[2]) then
        redis.call('XGROUP', 'DELCONSUMER', KEYS[1], ARGV[1], consumer['name'])
        gone = gone + 1
    end
end
return gone
"""


def forget_departed(
    redis: Redis, streams: tuple[str, ...] = CONSUMED, gone_seconds: float = GONE_SECONDS
) -> int:
    """Remove consumers that nothing was heard of for so long and that owe nothing; returns how
    many. What one still owes is taken over by its neighbours first. Raises redis's errors."""
    gone = 0
    for stream in streams:
        try:
            gone += int(redis.eval(FORGET, 1, stream, GROUP, str(int(gone_seconds * 1000))))
        except ResponseError as error:
            if "no such key" not in str(error).lower() and "NOGROUP" not in str(error):
                raise
    return gone
