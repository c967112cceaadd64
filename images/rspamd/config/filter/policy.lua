--[[ What the filter does with a message, per recipient (docs: images/rspamd/README.md).

  POSTHORN_POLICY   before all filters: asks the gatekeeper for the recipients' policies; sets thresholds and greylisting
  POSTHORN_VERDICT  after all filters, before greylisting: refuses, puts off, marks; seals what will be forwarded
  POSTHORN_RESULTS  at the end: Authentication-Results, ours instead of any that came along

actions.conf puts every message off ("soft reject"); only the end of POSTHORN_VERDICT takes that away. So whatever breaks,
times out or is not answered, the sender is asked to come back. ]]

local ip_address = require 'rspamd_ip'
local logger = require 'rspamd_logger'
local lua_mime = require 'lua_mime'

local folder = rspamd_paths['LOCAL_CONFDIR']
local gatekeeper = dofile(folder .. '/gatekeeper.lua')
local verdict = dofile(folder .. '/verdict.lua')
local seal = dofile(folder .. '/seal.lua')
local results = dofile(folder .. '/results.lua')

local defaults = rspamd_config:get_all_opt('posthorn')

local RECIPIENTS, SENDERS = 'posthorn_recipients', 'posthorn_senders'
-- above what other rules may have set
local PRIORITY = 3

local function put_off(task, why)
  logger.errx(task, 'not judged, put off: %s', why)
  task:set_pre_result('soft reject', 'Cannot judge this message now, try again later', 'posthorn', nil, PRIORITY)
end

local function printable(text)
  return (text:gsub('[^%w%p ]', '?'):sub(1, 300))
end

--- Refuses. The milter protocol as rspamd speaks it knows 5.7.1 only; Postfix takes the exact code from the header, which
--- makes it refuse by itself (milter_header_checks).
local function refuse(task, code, text)
  text = printable(text)
  if code ~= '5.7.1' then
    lua_mime.modify_headers(task, { add = { ['X-Posthorn-Refused'] = { order = 1, value = code .. ' ' .. text } } })
  end
  task:set_pre_result('reject', text, 'posthorn', nil, PRIORITY)
end

-- kinds of recipients whose mail leaves again
local DISTANT = { forward = true, srs = true }

-- before the filters ------------------------------------------------------------------------------------------------

local function policies_of(recipients)
  local list = {}
  for i, recipient in ipairs(recipients) do
    list[i] = type(recipient.policy) == 'table' and recipient.policy or {}
  end
  return list
end

--- rspamd's own thresholds, for all recipients together: the highest for refusing, the lowest for marking.
local function thresholds(policies)
  local reject, tag, greylist, greylisting = 0, math.huge, 0, true
  for _, policy in ipairs(policies) do
    reject = math.max(reject, policy.rejectAbove or defaults.reject)
    tag = math.min(tag, policy.tagAbove or defaults.tag)
    local above = policy.greylistAbove or defaults.greylist
    greylisting = greylisting and above > 0
    greylist = math.max(greylist, above)
  end
  return reject, tag, greylisting and greylist or nil
end

--- Must every filter run, also when the score is high enough to refuse? Who sent it may matter more than the score.
local function needs_all(recipient)
  local policy = type(recipient.policy) == 'table' and recipient.policy or {}
  return DISTANT[recipient.kind] or policy.require ~= nil or #(policy.allow or {}) > 0
end

--- Is it a report, for nobody but senders of forwarded mail? Those addresses are signed, and few reports a day get so far;
--- many servers send one once only.
local function only_reports(task, recipients)
  local sender = (task:get_from('smtp') or {})[1]
  if sender and (sender.addr or '') ~= '' then
    return false
  end
  for _, recipient in ipairs(recipients) do
    if recipient.kind ~= 'srs' then
      return false
    end
  end
  return #recipients > 0
end

local function apply(task, recipients)
  local policies = policies_of(recipients)
  local reject, tag, greylist = thresholds(policies)
  if only_reports(task, recipients) then
    greylist = nil
  end
  local settings = { actions = { reject = reject, ['add header'] = tag, greylist = greylist or 1e9 } }
  if not greylist then
    settings.symbols_disabled = { 'GREYLIST_CHECK', 'GREYLIST_SAVE' }
  end
  task:set_settings(settings)
  for _, recipient in ipairs(recipients) do
    if needs_all(recipient) then
      task:set_flag('pass_all')
    end
  end
  task:cache_set(RECIPIENTS, recipients)
end

local function only_mailbox(header)
  local bare = header:gsub('\\.', ''):gsub('"[^"]*"', ''):gsub('%b()', '')
  local _, ats = bare:gsub('@', '')
  return ats == 1 and not bare:find('[,;:]')
end

--- Domains that a reader may take for the author's: where there is doubt, whatever follows an at sign.
local function domains_in(headers, author)
  if author then
    return { (author:match('@([^@]+)$'):gsub('%.+$', '')) }
  end
  local domains = {}
  for _, header in ipairs(headers) do
    local text = (header.value or ''):lower()
    -- as it is, and without comments and white space
    for domain in (text .. ' ' .. text:gsub('%b()', ''):gsub('%s', '')):gmatch('@%s*([%w.-]+)') do
      domains[#domains + 1] = domain:gsub('%.+$', '')
    end
  end
  return domains
end

--- Who it claims to be from: envelope, everybody in From headers, and the author if there is no doubt about it.
local function senders_of(task)
  local headers = task:get_header_full('From') or {}
  local all = {}
  for _, mailbox in ipairs(task:get_from('mime') or {}) do
    all[#all + 1] = (mailbox.addr or ''):lower()
  end
  local sure = #headers == 1 and #all == 1 and all[1]:match('^[^@]+@[^@]+$') and only_mailbox(headers[1].value or '')
  local author = sure and all[1] or nil
  local envelope = (((task:get_from('smtp') or {})[1] or {}).addr or ''):lower()
  if envelope ~= '' then
    all[#all + 1] = envelope
  end
  return { all = all, domains = domains_in(headers, author), author = author, envelope = envelope }
end

--- The answer's recipients, when it speaks of each that was asked for.
local function recipients_in(answer, asked)
  local recipients = type(answer.recipients) == 'table' and answer.recipients or {}
  if #recipients ~= #asked then
    return nil
  end
  for i, recipient in ipairs(recipients) do
    if type(recipient) ~= 'table' or type(recipient.kind) ~= 'string' then
      return nil
    end
    if recipient.kind == '' and recipient.verdict ~= 'DUNNO' then
      return nil
    end
    recipient.address = asked[i]
  end
  return recipients
end

local function ask_policy(task)
  local addresses = {}
  for _, recipient in ipairs(task:get_recipients('smtp') or {}) do
    addresses[#addresses + 1] = recipient.addr
  end
  if #addresses == 0 then
    -- rspamd leaves out what it can't parse; whose policy counts is then unknown
    return put_off(task, 'no recipient')
  end
  task:cache_set(SENDERS, senders_of(task))
  gatekeeper.ask(task, '/v1/recipients', { recipients = addresses }, function(answer, why)
    if not answer then
      return put_off(task, 'gatekeeper: ' .. why)
    end
    gatekeeper.guard(task, put_off, function()
      local recipients = recipients_in(answer, addresses)
      if not recipients then
        return put_off(task, 'gatekeeper: the answer does not fit the question, or does not know a recipient')
      end
      apply(task, recipients)
    end)
  end)
end

-- facts ---------------------------------------------------------------------------------------------------------------

--- Names of the signatures (domain:selector) that say where the signed part of the body ends (RFC 6376, l=).
local function partial_signatures(task)
  local partial = {}
  for _, header in ipairs(task:get_header_full('DKIM-Signature') or {}) do
    local tags = {}
    for name, value in (header.value or ''):gsub('%s', ''):gmatch('([%w_]+)=([^;]*)') do
      tags[name:lower()] = value:lower()
    end
    if tags.l then
      partial[(tags.d or '') .. ':' .. (tags.s or '')] = true
    end
  end
  return partial
end

local DKIM_RESULT = { allow = 'pass', tempfail = 'temperror' }

local function signatures_of(task)
  local partial = partial_signatures(task)
  local list = {}
  for _, result in ipairs(task:get_dkim_results() or {}) do
    local domain, selector = (result.domain or ''):lower(), (result.selector or ''):lower()
    list[#list + 1] = {
      domain = domain,
      result = DKIM_RESULT[result.result] or 'fail',
      partial = partial[domain .. ':' .. selector] == true,
    }
  end
  return list
end

local SPF = { R_SPF_ALLOW = 'pass', R_SPF_FAIL = 'fail', R_SPF_DNSFAIL = 'temperror' }
local DMARC = { DMARC_POLICY_REJECT = 'reject', DMARC_POLICY_QUARANTINE = 'quarantine', DMARC_DNSFAIL = 'temperror' }

local function first_of(task, symbols)
  for symbol, meaning in pairs(symbols) do
    if task:has_symbol(symbol) then
      return meaning
    end
  end
end

local function facts_of(task)
  local senders = task:cache_get(SENDERS)
  local ip = task:get_from_ip()
  return {
    score = task:get_metric_score()[1],
    ip = ip and ip:is_valid() and ip_address.from_string(tostring(ip)) or nil,
    envelope = senders.envelope,
    domains = senders.domains,
    senders = senders.all,
    author = senders.author,
    spf = first_of(task, SPF),
    dkim = signatures_of(task),
    dmarc = first_of(task, DMARC),
  }
end

-- after the filters -----------------------------------------------------------------------------------------------------

--- The forward among the recipients that this message has been through already.
local function loop(task, recipients)
  local seen = {}
  for _, header in ipairs(task:get_header_full('Delivered-To') or {}) do
    local address = (header.decoded or header.value or ''):lower():gsub('[<>%s]', '')
    seen[address] = true
  end
  for _, recipient in ipairs(recipients) do
    if recipient.kind == 'forward' then
      local canonical = type(recipient.canonical) == 'string' and recipient.canonical:lower() or ''
      if seen[recipient.address:lower()] or seen[canonical] then
        return recipient.address
      end
    end
  end
end

--- Does some of it leave again, to an address elsewhere?
local function leaves(recipients)
  for _, recipient in ipairs(recipients) do
    if DISTANT[recipient.kind] then
      return true
    end
  end
  return false
end

--- Is it what an SRS address is for: an answer that a machine gave (RFC 6522, RFC 3834)?
local function is_report(task)
  local auto = (task:get_header('Auto-Submitted') or ''):lower():match('^%s*([%w-]+)')
  if auto and auto ~= 'no' then
    return true
  end
  local kind = (task:get_header('Content-Type') or ''):lower()
  return kind:match('^%s*multipart/report[%s;]') ~= nil or kind:match('^%s*multipart/report$') ~= nil
end

local function misused(task, recipients)
  for _, recipient in ipairs(recipients) do
    if recipient.kind == 'srs' and not is_report(task) then
      return true
    end
  end
  return false
end

--- Forwarded mail leaves with an envelope of ours, and so passes SPF, aligned with any From of our organisation. So nobody
--- may have a From of ours forwarded who can't show that it is theirs. Calls `go_on` when that is not the case.
local function unless_in_our_name(task, facts, go_on)
  local standing = verdict.authenticity(facts)
  if standing == 'pass' then
    return go_on()
  end
  local function ours(domain)
    if standing == 'temperror' then
      return put_off(task, 'can not tell now whether it is mail of ' .. domain)
    end
    refuse(task, '5.7.26', 'unauthenticated mail from a domain of ours (' .. domain .. ') is not forwarded')
  end
  for _, domain in ipairs(facts.domains) do
    if verdict.aligned(domain, defaults.hostname:lower()) or verdict.aligned(domain, defaults.srs_domain:lower()) then
      return ours(domain)
    end
  end
  seal.hosted(task, facts.domains, ours, go_on, function(why)
    put_off(task, why)
  end)
end

local function forwarding_domains(recipients)
  local domains = {}
  for _, recipient in ipairs(recipients) do
    if recipient.kind == 'forward' then
      local address = type(recipient.canonical) == 'string' and recipient.canonical or recipient.address
      local domain = address:lower():match('@([^@]+)$')
      domains[#domains + 1] = domain
    end
  end
  return domains
end

--- Headers that only we may write leave; then ours come.
local function mark(task, decision, facts)
  local remove = { ['X-Spam-Action'] = 0 }
  task:headers_foreach(function(name)
    local lower = name:lower()
    if lower == 'x-spam-action' or lower:find('^x%-posthorn%-') then
      remove[name] = 0
    end
  end)
  local add = {}
  if decision.action == 'quarantine' then
    add['X-Spam-Action'] = { order = -1, value = 'quarantine' }
  end
  if decision.unauthenticated then
    add['X-Posthorn-Unauthenticated'] = { order = -1, value = 'yes' }
  end
  if facts.envelope ~= '' and not verdict.vouched(facts) and not task:get_header('X-Auto-Response-Suppress') then
    -- the store's automatic replies obey this: they must not go to somebody whose address was only claimed
    add['X-Auto-Response-Suppress'] = { order = -1, value = 'OOF' }
  end
  lua_mime.modify_headers(task, { add = add, remove = remove })
  local tagged = decision.action == 'tag' or decision.action == 'quarantine'
  if tagged and task:get_metric_action() ~= 'add header' then
    -- "X-Spam: Yes", though the score alone would not do
    task:set_pre_result { action = 'add header', module = 'posthorn', flags = 'least' }
  end
end

local function let_in(task, decision, facts)
  mark(task, decision, facts)
  if decision.allowed then
    -- whatever the score, and without greylisting
    task:set_pre_result { action = 'no action', module = 'posthorn', priority = 1 }
  else
    task:disable_action('soft reject')
  end
end

--- Seals what is forwarded, and lets it in.
local function send_on(task, recipients, decision, facts)
  local domains = forwarding_domains(recipients)
  if #domains == 0 then
    return let_in(task, decision, facts)
  end
  seal.seal(task, domains, results.text(task, defaults.hostname), function()
    let_in(task, decision, facts)
  end, function(why)
    logger.warnx(task, 'forwarded without an ARC seal: %s', why)
    let_in(task, decision, facts)
  end, function(why)
    put_off(task, 'ARC: ' .. why)
  end)
end

local function decide(task)
  local recipients = task:cache_get(RECIPIENTS)
  if not recipients then
    return put_off(task, 'nobody said what the policy is')
  end
  local looping = loop(task, recipients)
  if looping then
    return refuse(task, '5.4.6', 'mail forwarding loop: this message has been forwarded by ' .. looping .. ' before')
  end
  local facts = facts_of(task)
  local verdicts = {}
  for i, policy in ipairs(policies_of(recipients)) do
    verdicts[i] = verdict.judge(policy, facts, defaults)
  end
  local decision = verdict.combine(verdicts)
  if decision.action == 'reject' then
    if decision.by_score and task:get_metric_action() == 'reject' then
      -- by itself, so that Bayes may learn from it
      return
    end
    return refuse(task, decision.code, decision.text)
  elseif decision.action == 'defer' then
    return task:set_pre_result('soft reject', printable(decision.text), 'posthorn', nil, PRIORITY)
  end
  if misused(task, recipients) then
    return refuse(task, '5.7.1', 'only delivery reports go to this address')
  end
  if not leaves(recipients) then
    return let_in(task, decision, facts)
  end
  unless_in_our_name(task, facts, function()
    send_on(task, recipients, decision, facts)
  end)
end

local function judge(task)
  local decided, action = task:has_pre_result()
  if decided then
    -- refused or put off before the filters had their say: that stands
    if action ~= 'reject' and action ~= 'soft reject' then
      put_off(task, 'another rule has decided: ' .. tostring(action))
    end
    return
  end
  gatekeeper.guard(task, put_off, function() decide(task) end)
end

-- Priority: rspamd's own rules rewrite addresses ("+detail") at 11.
rspamd_config:register_symbol {
  name = 'POSTHORN_POLICY', type = 'prefilter', priority = 12, flags = 'nostat,empty,ignore_passthrough',
  callback = function(task)
    gatekeeper.guard(task, put_off, function() ask_policy(task) end)
  end,
}
local id = rspamd_config:register_symbol {
  name = 'POSTHORN_VERDICT', type = 'postfilter', priority = 0, flags = 'nostat,empty,ignore_passthrough',
  callback = judge,
}
rspamd_config:register_symbol { name = 'POSTHORN_SEALED', type = 'virtual', parent = id, score = 0 }
rspamd_config:register_symbol {
  name = 'POSTHORN_RESULTS', type = 'idempotent', flags = 'nostat,empty,ignore_passthrough',
  callback = function(task) results.put(task, defaults.hostname) end,
}
