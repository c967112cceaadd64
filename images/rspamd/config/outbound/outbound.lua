--[[ Last step for what people send: the gatekeeper says whether it may go (docs: images/rspamd/README.md).

It is told who has logged in, the envelope, the header as it is, and what the rules before have found; it checks who the
author says they are, how much they have sent, and remembers those who send spam. actions.conf puts every message off
("soft reject"); only an answer that says "accept" takes that away. ]]

local logger = require 'rspamd_logger'
local lua_mime = require 'lua_mime'

local gatekeeper = dofile(rspamd_paths['LOCAL_CONFDIR'] .. '/gatekeeper.lua')
local limits = rspamd_config:get_all_opt('posthorn')

-- above what other rules may have set
local PRIORITY = 4
local ENVELOPE = 'posthorn_envelope'

local function put_off(task, why)
  logger.errx(task, 'not sent, put off: %s', why)
  task:set_pre_result('soft reject', 'Cannot check this message now, try again later', 'posthorn', nil, PRIORITY)
end

local function printable(text)
  return (text:gsub('[^%w%p ]', '?'):sub(1, 300))
end

--- "5.7.1 some text" → code, text
local function parts_of(reply)
  local code, text = reply:match('^([45]%.%d+%.%d+) +(.+)$')
  return code, printable(text or reply)
end

--- The milter protocol as rspamd speaks it knows 5.7.1 only; Postfix takes the exact code from the header, which makes it
--- refuse by itself (milter_header_checks).
local function refuse(task, reply)
  local code, text = parts_of(reply)
  if code and code:sub(1, 1) == '5' and code ~= '5.7.1' then
    lua_mime.modify_headers(task, { add = { ['X-Posthorn-Refused'] = { order = 1, value = code .. ' ' .. text } } })
  end
  task:set_pre_result('reject', text, 'posthorn', nil, PRIORITY)
end

--- Headers that only we may write leave: mail between our people is not filtered again.
local function strip(task)
  local remove = {}
  task:headers_foreach(function(name)
    local lower = name:lower()
    if lower == 'x-spam' or lower == 'x-spam-action' or lower:find('^x%-posthorn%-') then
      remove[name] = 0
    end
  end)
  if next(remove) then
    lua_mime.modify_headers(task, { remove = remove })
  end
end

local function obey(task, answer, spammy)
  local reply = type(answer.reply) == 'string' and answer.reply or nil
  if answer.action == 'reject' then
    return refuse(task, reply or '5.7.1 You may not send this message')
  elseif answer.action == 'defer' then
    local _, text = parts_of(reply or 'Try again later')
    return task:set_pre_result('soft reject', text, 'posthorn', nil, PRIORITY)
  elseif answer.action ~= 'accept' then
    return put_off(task, 'gatekeeper: no action in the answer')
  end
  if spammy then
    return refuse(task, '5.7.1 This looks like spam and was not sent; ask your postmaster if it is not')
  end
  strip(task)
  task:disable_action('soft reject')
end

local function note_envelope(task)
  local recipients = {}
  for _, recipient in ipairs(task:get_recipients('smtp') or {}) do
    recipients[#recipients + 1] = recipient.addr
  end
  task:cache_set(ENVELOPE, { sender = ((task:get_from('smtp') or {})[1] or {}).addr or '', recipients = recipients })
end

local GTUBE = 'XJS*C4JDBQADN1.NSBN3*2IDNEN*GTUBE-STANDARD-ANTI-UBE-TEST-EMAIL*C.34X'

--- Does it hold the test pattern of spam filters?
local function is_test(task)
  for _, part in ipairs(task:get_text_parts() or {}) do
    if part:get_length() < 8192 and tostring(part:get_content()):find(GTUBE, 1, true) then
      return true
    end
  end
  return false
end

local function ask(task)
  local login = task:get_user()
  local envelope = task:cache_get(ENVELOPE)
  if not login or login == '' or #envelope.recipients == 0 then
    return put_off(task, 'no login, or no recipient')
  end
  local score = task:get_metric_score()[1]
  local decided, action = task:has_pre_result()
  local spammy = score >= limits.reject or (decided and action == 'reject') or is_test(task)
  local question = {
    login = login,
    sender = envelope.sender,
    recipients = envelope.recipients,
    headers = tostring(task:get_raw_headers() or ''),
    score = score,
    spam = spammy,
    size = task:get_size(),
  }
  gatekeeper.ask(task, '/v1/submission', question, function(answer, why)
    if not answer then
      return put_off(task, 'gatekeeper: ' .. why)
    end
    gatekeeper.guard(task, put_off, function() obey(task, answer, spammy) end)
  end)
end

-- before rspamd's own rules rewrite addresses ("+detail", priority 11)
rspamd_config:register_symbol {
  name = 'POSTHORN_ENVELOPE', type = 'prefilter', priority = 12, flags = 'nostat,empty,ignore_passthrough',
  callback = function(task)
    gatekeeper.guard(task, put_off, function() note_envelope(task) end)
  end,
}
-- after everything else that judges
rspamd_config:register_symbol {
  name = 'POSTHORN_OUTBOUND', type = 'postfilter', priority = 10, flags = 'nostat,empty,ignore_passthrough',
  callback = function(task)
    gatekeeper.guard(task, put_off, function() ask(task) end)
  end,
}
