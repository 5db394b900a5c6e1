-- Keep a message, once for each token.
--
-- KEYS  token, message, index, log
-- ARGV  id, created (ms), owner, name, text, seconds that a token is remembered, most messages, entries of the log
--
-- Answers {id, position, repeated}. What the token made is remembered with it, so that a client that never heard the
-- answer can ask again. EXPIRE makes a repeated call a write too: WAIT on its connection then waits for the replicas.

local known = redis.call('GET', KEYS[1])
if known then
  redis.call('EXPIRE', KEYS[1], ARGV[6])
  local id, position = known:match('^(%S+) (%S+)$')
  return {id, position, 1}
end

if redis.call('ZCARD', KEYS[3]) >= tonumber(ARGV[7]) then
  return redis.error_reply('FULL the guestbook takes no more messages')
end

local fields = {
  'id', ARGV[1], 'created', ARGV[2], 'edited', '0', 'version', '1',
  'owner', ARGV[3], 'name', ARGV[4], 'text', ARGV[5],
}
redis.call('HSET', KEYS[2], unpack(fields))
redis.call('ZADD', KEYS[3], 0, ARGV[1])
local position = redis.call('XADD', KEYS[4], 'MAXLEN', '~', ARGV[8], '*', unpack(fields))
redis.call('SET', KEYS[1], ARGV[1] .. ' ' .. position, 'EX', ARGV[6])
return {ARGV[1], position, 0}
