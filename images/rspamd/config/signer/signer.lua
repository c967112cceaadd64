--[[ The signer's only rule (RFC 6376): sign with the key of the domain in From, or put the message off.

Redis is a cache of the signing keys that the operator keeps in Secrets:
  posthorn:dkim:loaded  "1" once the operator has filled the cache
  DKIM_SELECTORS        hash: domain → selector
  DKIM_KEYS             hash: selector.domain → private key, PEM (PKCS #8)

  Redis away, or not filled               → 451
  domain of From has a selector           → signed, or 451 when that can't be done
  domain of From has none                 → passed on: not ours
  From missing, twice, or not one mailbox → 554: nobody could tell whose signature it needs

That is for mail of our own, at egress' listener "egress". What comes by the listener "forward" was written by strangers,
most of it: it is never refused, and signed only when the mx says that its author had logged in. Else whoever writes to a
forward with our domain in From would get our signature.
]]

local lua_redis = require 'lua_redis'
local logger = require 'rspamd_logger'
local util = require 'rspamd_util'

local LOADED, SELECTORS, KEYS = 'posthorn:dkim:loaded', 'DKIM_SELECTORS', 'DKIM_KEYS'
local redis = lua_redis.parse_redis_server('redis')
-- what the mx puts on mail from submission, and its filter removes from everything else
local LOGGED_IN = rspamd_config:get_all_opt('posthorn').hostname:lower() .. ';auth=pass'

local function put_off(task, why)
  logger.errx(task, 'not signed, put off: %s', why)
  task:set_pre_result('soft reject', 'Cannot sign this message now, try again later')
end

-- The text is known to images/postfix/config/common/hop_status.regexp: these are the refusals that go back to the sender.
local function refuse(task, why)
  task:set_pre_result('reject', 'From header must ' .. why)
end

--- Domain of the only author, in lower case and without a final dot; or nil and what is wrong.
local function author_domain(task)
  local headers = task:get_header_full('From') or {}
  if #headers ~= 1 then
    return nil, 'appear exactly once (RFC 5322)'
  end
  local authors = task:get_from('mime') or {}
  local domain = #authors == 1 and (authors[1].domain or ''):lower():gsub('%.+$', '')
  if not domain or domain == '' then
    return nil, 'hold exactly one mailbox'
  end
  return domain
end

-- An Ed25519 key in PKCS #8 is this prefix and the 32 octets that rspamd wants (RFC 8410).
local ED25519 = '\48\46\2\1\0\48\5\6\3\43\101\112\4\34\4\32'

local function signing_key(pem)
  local body = pem:match('^%s*%-%-%-%-%-BEGIN PRIVATE KEY%-%-%-%-%-(.-)%-%-%-%-%-END')
  local der = body and util.decode_base64((body:gsub('%s', '')))
  der = der and tostring(der) or ''
  if #der == #ED25519 + 32 and der:sub(1, #ED25519) == ED25519 then
    return der:sub(#ED25519 + 1)
  end
  return pem
end

local function sign(task, domain, selector, pem)
  local ok, signed = pcall(rspamd_plugins.dkim.sign, task, {
    domain = domain,
    selector = selector,
    rawkey = signing_key(pem),
  })
  if not ok or not signed then
    return put_off(task, 'key ' .. selector .. '.' .. domain .. ' does not work')
  end
  task:insert_result('SIGNED', 1.0, domain .. ':s=' .. selector)
end

--- Asks Redis one thing and calls back with the answer as text, or nil when there is none; puts the message off on errors.
local function ask(task, command, args, callback)
  local sent = lua_redis.redis_make_request(task, redis, nil, false, function(err, data)
    if err then
      return put_off(task, 'Redis: ' .. tostring(err))
    end
    callback(type(data) == 'string' and data ~= '' and data or nil)
  end, command, args)
  if not sent then
    put_off(task, 'Redis: no request could be sent')
  end
end

local function pass(task, why)
  task:insert_result('NOT_OURS', 1.0, why)
end

local function logged_in(task)
  for _, header in ipairs(task:get_header_full('Authentication-Results') or {}) do
    if (header.value or ''):gsub('%s', ''):lower() == LOGGED_IN then
      return true
    end
  end
  return false
end

local function sign_or_pass(task)
  local domain, wrong = author_domain(task)
  -- the milter macro {daemon_name}: which of egress' listeners the message came by
  local forwarded = tostring(task:get_request_header('MTA-Name') or '') == 'forward'
  if forwarded and not (domain and logged_in(task)) then
    return pass(task, 'forwarded')
  end
  if not domain then
    return refuse(task, wrong)
  end
  ask(task, 'GET', { LOADED }, function(loaded)
    if loaded ~= '1' then
      return put_off(task, 'the cache of signing keys is not filled')
    end
    ask(task, 'HGET', { SELECTORS, domain }, function(selector)
      if not selector then
        return pass(task, domain)
      end
      ask(task, 'HGET', { KEYS, selector .. '.' .. domain }, function(pem)
        if not pem then
          return put_off(task, 'no key ' .. selector .. '.' .. domain)
        end
        sign(task, domain, selector, pem)
      end)
    end)
  end)
end

rspamd_config:register_symbol {
  name = 'UNDECIDED', type = 'prefilter', score = 100, priority = 10, flags = 'nostat',
  callback = function(task) task:insert_result('UNDECIDED', 1.0) end,
}
local id = rspamd_config:register_symbol {
  name = 'SIGNER', type = 'callback', flags = 'nostat', callback = sign_or_pass,
}
rspamd_config:register_symbol { name = 'SIGNED', type = 'virtual', parent = id, score = -100 }
rspamd_config:register_symbol { name = 'NOT_OURS', type = 'virtual', parent = id, score = -100 }
