--[[ Authentication-Results (RFC 8601) in our words: for the header of that name, and for the one that ARC seals.

Not rspamd's own text, which repeats the envelope sender in comments: a stranger's `")"@` would end such a comment and go on
with results of their own. Here is no comment, and whatever does not fit a plain word or address is quoted. ]]

local lua_mime = require 'lua_mime'
local lua_util = require 'lua_util'
local util = require 'rspamd_util'

local M = {}

local SPF = {
  R_SPF_ALLOW = 'pass', R_SPF_FAIL = 'fail', R_SPF_SOFTFAIL = 'softfail', R_SPF_NEUTRAL = 'neutral',
  R_SPF_DNSFAIL = 'temperror', R_SPF_PERMFAIL = 'permerror', R_SPF_NA = 'none',
}
local DKIM = {
  allow = 'pass', reject = 'fail', tempfail = 'temperror', ['bad record'] = 'permerror', ['permanent error'] = 'permerror',
}
local DMARC = {
  DMARC_POLICY_ALLOW = 'pass', DMARC_NA = 'none', DMARC_DNSFAIL = 'temperror', DMARC_BAD_POLICY = 'permerror',
  DMARC_POLICY_REJECT = 'fail policy.dmarc=reject', DMARC_POLICY_QUARANTINE = 'fail policy.dmarc=quarantine',
  DMARC_POLICY_SOFTFAIL = 'fail policy.dmarc=none',
}
local ARC = { ARC_ALLOW = 'pass', ARC_REJECT = 'fail', ARC_INVALID = 'fail' }

local function value(text)
  text = tostring(text):gsub('[^\32-\126]', '?'):sub(1, 320)
  if text:find("^[%w.!#$%%&'*+/=?^_`{|}~-]+@[%w.-]+$") or text:find('^[%w._/+=-]+$') then
    return text
  end
  return '"' .. text:gsub('[\\"]', '\\%0') .. '"'
end

local function first_of(task, meanings)
  for symbol, meaning in pairs(meanings) do
    if task:has_symbol(symbol) then
      return meaning
    end
  end
end

local function dkim(task, parts)
  local results = task:get_dkim_results() or {}
  for _, result in ipairs(results) do
    local part = 'dkim=' .. (DKIM[result.result] or 'neutral')
    if result.fail_reason then
      part = part .. ' reason=' .. value(result.fail_reason)
    end
    for name, text in pairs { ['header.d'] = result.domain, ['header.s'] = result.selector, ['header.b'] = result.bhash } do
      part = part .. ' ' .. name .. '=' .. value(text)
    end
    parts[#parts + 1] = part
  end
  if #results == 0 then
    parts[#parts + 1] = 'dkim=none'
  end
end

local function spf(task, parts)
  local result = first_of(task, SPF)
  if not result then
    return
  end
  local sender = ((task:get_from { 'smtp', 'orig' } or {})[1] or {}).addr or ''
  if sender ~= '' then
    parts[#parts + 1] = 'spf=' .. result .. ' smtp.mailfrom=' .. value(sender)
  else
    parts[#parts + 1] = 'spf=' .. result .. ' smtp.helo=' .. value(task:get_helo() or '')
  end
end

local function dmarc(task, parts)
  local result = first_of(task, DMARC)
  local authors = task:get_from 'mime' or {}
  local domain = #authors == 1 and authors[1].domain or ''
  if result and domain ~= '' then
    parts[#parts + 1] = 'dmarc=' .. result .. ' header.from=' .. value(domain)
  elseif result then
    parts[#parts + 1] = 'dmarc=' .. result
  end
end

--- `HOSTNAME; dkim=pass header.d=…; spf=…; dmarc=…; arc=…`
function M.text(task, hostname)
  local parts = { hostname or util.get_hostname() }
  dkim(task, parts)
  spf(task, parts)
  dmarc(task, parts)
  local arc = first_of(task, ARC)
  if arc then
    parts[#parts + 1] = 'arc=' .. arc
  end
  return table.concat(parts, '; ')
end

--- Puts the header on the message, and takes away all of its name that came along.
function M.put(task, hostname)
  local text = lua_util.fold_header(task, 'Authentication-Results', M.text(task, hostname), ';')
  lua_mime.modify_headers(task, {
    remove = { ['Authentication-Results'] = 0 },
    add = { ['Authentication-Results'] = { order = 1, value = text } },
  })
end

return M
