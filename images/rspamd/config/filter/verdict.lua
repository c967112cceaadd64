--[[ What a recipient's policy says about a message. Nothing here asks or changes anything: facts in, verdict out.

Facts (policy.lua gathers them):
  score       spam score
  ip          rspamd's address of the client, or nil
  envelope    MAIL FROM in lower case; '' for the null sender
  domains     of the author; where From leaves doubt, every domain in it
  senders     every address in From headers and the envelope, in lower case
  author      the only address in the only From header, in lower case; nil when that can't be said beyond doubt
  spf         'pass', 'fail', 'temperror' or other
  dkim        list of {domain, result ('pass', 'temperror' or other), partial (covers a part of the body only)}
  dmarc       'reject' or 'quarantine' (what the failed author's domain asks for), 'temperror', or nil

A verdict: action (one of RANK), and for 'reject' and 'defer' the text for the sender, with code (RFC 3463, RFC 7372);
for the others `unauthenticated` (a required signature is missing), `allowed` (the score does not count). ]]

local ip_address = require 'rspamd_ip'
local util = require 'rspamd_util'

local M = {}

local RANK = { accept = 1, tag = 2, quarantine = 3, defer = 4, reject = 5 }

local function domain_of(address)
  return address and address:match('@([^@]+)$')
end

--- RFC 7489, 3.1: are both in one organisational domain?
local function aligned(one, other)
  if not one or not other then
    return false
  end
  return one == other or util.get_tld(one) == util.get_tld(other)
end

local function within(domain, parent)
  return domain == parent or domain:sub(-#parent - 1) == '.' .. parent
end

-- lists ------------------------------------------------------------------------------------------------------------

local function network_holds(entry, ip)
  local text, bits = entry:match('^%[?([%x:.]+)%]?/?(%d*)$')
  local network = text and text:find('[.:]') and ip_address.from_string(text)
  if not network or not network:is_valid() or network:get_version() ~= ip:get_version() then
    return false
  end
  local mask = tonumber(bits) or (ip:get_version() == 4 and 32 or 128)
  return tostring(network:apply_mask(mask)) == tostring(ip:apply_mask(mask))
end

--- Does an entry of a list (address, domain, IP address or network) name one of these addresses, or the client?
local function listed(entries, addresses, ip)
  for _, raw in ipairs(entries or {}) do
    local entry = tostring(raw):lower()
    for _, address in ipairs(addresses) do
      if entry == address or entry == domain_of(address) then
        return entry
      end
    end
    if ip and network_holds(entry, ip) then
      return entry
    end
  end
end

-- authentication ---------------------------------------------------------------------------------------------------

--- 'pass', 'temperror' or 'fail': is there a signature over all of the message whose domain is the author's?
local function signed(facts, domain)
  local answer = 'fail'
  for _, signature in ipairs(facts.dkim) do
    if aligned(signature.domain, domain) and not signature.partial then
      if signature.result == 'pass' then
        return 'pass'
      elseif signature.result == 'temperror' then
        answer = 'temperror'
      end
    end
  end
  return answer
end

--- Is the author who From says? By DKIM, or by SPF for an envelope of the same organisation.
local function authentic(facts)
  local domain = domain_of(facts.author)
  if not domain then
    return false
  end
  return signed(facts, domain) == 'pass' or (facts.spf == 'pass' and aligned(domain_of(facts.envelope), domain))
end

-- steps: each returns a verdict, or nil to go on -------------------------------------------------------------------

local function reject(code, text, ...)
  return { action = 'reject', code = code, text = text:format(...) }
end

local function defer(text)
  return { action = 'defer', code = '4.7.0', text = text }
end

local function denied(policy, facts)
  local who = listed(policy.deny, facts.senders, facts.ip)
  if who then
    return reject('5.7.1', 'mail from %s is not wanted by the recipient', who)
  end
end

local function spf_fails(policy, facts)
  if policy.spf ~= 'Enforce' then
    return
  end
  if facts.spf == 'fail' then
    return reject('5.7.23', 'SPF: %s does not let your server send its mail', domain_of(facts.envelope) or 'your domain')
  elseif facts.spf == 'temperror' then
    return defer('SPF can not be checked now, try again later')
  end
end

local function dkim_fails(policy, facts)
  if policy.dkim ~= 'Enforce' or #facts.dkim == 0 then
    return
  end
  local waiting = false
  for _, signature in ipairs(facts.dkim) do
    if signature.result == 'pass' then
      return
    end
    waiting = waiting or signature.result == 'temperror'
  end
  if waiting then
    return defer('DKIM can not be checked now, try again later')
  end
  return reject('5.7.20', 'DKIM: the signature of %s is not valid', facts.dkim[1].domain or 'the message')
end

local function dmarc_fails(policy, facts)
  if policy.dmarc ~= 'Enforce' then
    return
  end
  if facts.dmarc == 'reject' or facts.dmarc == 'quarantine' then
    local domain = domain_of(facts.author) or 'the domain in From'
    return reject('5.7.26', 'DMARC: neither SPF nor DKIM shows that this is mail of %s (policy %s)', domain, facts.dmarc)
  elseif facts.dmarc == 'temperror' then
    return defer('DMARC can not be checked now, try again later')
  end
end

--- 'pass', 'temperror' or 'fail': does the author's domain belong to the required ones, and has it signed?
local function meets(required, facts)
  local domain = domain_of(facts.author)
  if not domain then
    return 'fail'
  end
  for _, wanted in ipairs(required.from or {}) do
    if within(domain, tostring(wanted):lower()) then
      return signed(facts, domain)
    end
  end
  return 'fail'
end

local function requirement_fails(policy, facts)
  local required = policy.require
  if type(required) ~= 'table' then
    return
  end
  local answer = meets(required, facts)
  if answer == 'pass' then
    return
  end
  if required.otherwise == 'Tag' then
    return { action = 'tag', unauthenticated = true }
  end
  if answer == 'temperror' then
    return defer('the DKIM signature can not be checked now, try again later')
  end
  local from = required.from or {}
  local names = #from > 0 and #from <= 3 and table.concat(from, ', ') or 'certain domains'
  return reject('5.7.1', 'this address takes only mail from %s with a valid DKIM signature of the domain in From', names)
end

local function by_score(policy, facts, defaults)
  local score = facts.score
  if score >= (policy.rejectAbove or defaults.reject) then
    return { action = 'reject', code = '5.7.1', text = 'Spam message rejected', by_score = true }
  elseif policy.quarantineAbove and score >= policy.quarantineAbove then
    return { action = 'quarantine' }
  elseif score >= (policy.tagAbove or defaults.tag) then
    return { action = 'tag' }
  end
  return { action = 'accept' }
end

--- What one policy (an empty table for none) says.
function M.judge(policy, facts, defaults)
  local verdict = denied(policy, facts)
  if verdict then
    return verdict
  end
  local unauthenticated = requirement_fails(policy, facts)
  if unauthenticated and unauthenticated.action ~= 'tag' then
    return unauthenticated
  end
  if authentic(facts) and facts.author and listed(policy.allow, { facts.author }) then
    verdict = { action = 'accept', allowed = true }
  else
    verdict = spf_fails(policy, facts) or dkim_fails(policy, facts) or dmarc_fails(policy, facts)
      or by_score(policy, facts, defaults)
  end
  if unauthenticated and RANK[verdict.action] <= RANK.quarantine then
    return {
      action = verdict.action == 'quarantine' and 'quarantine' or 'tag',
      unauthenticated = true,
    }
  end
  return verdict
end

--- 'pass', 'temperror' or 'fail': is the message by whom its From says, all of them?
function M.authenticity(facts)
  if authentic(facts) then
    return 'pass'
  end
  if facts.spf == 'temperror' then
    return 'temperror'
  end
  for _, signature in ipairs(facts.dkim) do
    if signature.result == 'temperror' then
      return 'temperror'
    end
  end
  return 'fail'
end

--- Are both domains of one organisation?
M.aligned = aligned

--- Does SPF, or a signature of the same organisation, vouch for the envelope sender?
function M.vouched(facts)
  return facts.spf == 'pass' or signed(facts, domain_of(facts.envelope)) == 'pass'
end

--- One verdict for all recipients: refused only when every one refuses; else what refuses is only marked.
function M.combine(verdicts)
  local strongest, refusing, unauthenticated, allowed = nil, 0, false, true
  for _, verdict in ipairs(verdicts) do
    unauthenticated = unauthenticated or verdict.unauthenticated == true
    allowed = allowed and verdict.allowed == true
    if verdict.action == 'reject' then
      refusing = refusing + 1
    elseif not strongest or RANK[verdict.action] > RANK[strongest.action] then
      strongest = verdict
    end
  end
  if not strongest then
    return verdicts[1]
  end
  if strongest.action == 'defer' then
    return strongest
  end
  local action = strongest.action
  if refusing > 0 and action == 'accept' then
    action = 'tag'
  end
  return { action = action, unauthenticated = unauthenticated, allowed = allowed and refusing == 0 }
end

return M
