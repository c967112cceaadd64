-- Dirty log: a line for every transaction that has changed a mailbox, appended to a file on the mail volume from which
-- the replicator learns what to copy. Lines: "UUID USER" for a change in the user's own mailbox, "UUID" for one in a
-- mailbox that somebody shares with them (the owner's UUID). Nothing here waits for anybody: a replicator that is dead
-- finds the lines later.
--
-- The file is opened for each line: the replicator renames it. A line is one write() with O_APPEND, so lines of many
-- processes don't mix. After a crash between a commit and its line the replicator compares everything.
--
-- Dovecot asks at each transaction which of the functions dovecot_lua_notify_event_* exist, and prepares their events:
-- for a new message it parses headers and makes a snippet of the body. So they are defined only for users with shared
-- mailboxes, who need them to know the folder; for all others dovecot_lua_notify_begin_txn, which is called for every
-- change, says enough. One has to exist, or nothing is called at all: the one that costs nothing.

local log
local shared_path

-- `log`: the file. `shared`: where the user's first shared mailbox is, empty without one.
function script_init(settings)
  log = settings.log
  shared_path = settings.shared or ''
  if shared_path ~= '' then define_events() end
  return 0
end

local function uuid_in(path)
  return string.match(path or '', '/(%x%x%x%x%x%x%x%x%-%x%x%x%x%-%x%x%x%x%-%x%x%x%x%-%x%x%x%x%x%x%x%x%x%x%x%x)')
end

-- The namespaces of shared mailboxes: {prefix = 'Shared/info/', uuid = …}. The directory numbers them from 1.
local function shared_namespaces(user)
  local found = {}
  local n = 1
  while true do
    local name = 'userdb:namespace/s' .. n
    local path = user:var_expand("%{" .. name .. "/mail_path | default('')}")
    if path == '' then return found end
    local prefix = user:var_expand("%{" .. name .. "/prefix | default('')}")
    found[n] = { prefix = prefix, uuid = uuid_in(path) }
    n = n + 1
  end
end

local function add(txn, uuid)
  if uuid and not txn.seen[uuid] then
    txn.seen[uuid] = true
    txn.lines = txn.lines .. uuid .. (uuid == txn.own and ' ' .. txn.user or '') .. '\n'
  end
end

-- The mailbox that folder `name` is in.
local function add_folder(txn, name)
  for _, namespace in ipairs(txn.shared) do
    local prefix = namespace.prefix
    if string.sub(name .. '/', 1, #prefix) == prefix then return add(txn, namespace.uuid) end
  end
  add(txn, txn.own)
end

local function write(lines)
  local file, problem = io.open(log, 'a')
  if not file then
    dovecot.i_error('dirty log: ' .. problem .. ': the change is copied with the next one, or by a comparison')
    return
  end
  -- One line fits into one write(); so do all lines of a transaction.
  file:setvbuf('full', 8192)
  file:write(lines)
  file:close()
end

function dovecot_lua_notify_begin_txn(user)
  local own = uuid_in(user.home)
  local txn = { own = own, user = user.username, seen = {}, lines = '', shared = {} }
  if shared_path == '' then
    add(txn, own)
  else
    txn.shared = shared_namespaces(user)
  end
  return txn
end

function dovecot_lua_notify_end_txn(txn, success)
  if txn.lines ~= '' then write(txn.lines) end
end

function dovecot_lua_notify_event_mailbox_subscribe() end

-- For users with shared mailboxes.
function define_events()
  local function event(txn, details)
    add_folder(txn, details.mailbox)
  end
  for _, name in ipairs({
    'message_new', 'message_append', 'message_expunge', 'flags_set', 'flags_clear',
    'mailbox_create', 'mailbox_delete', 'mailbox_subscribe', 'mailbox_unsubscribe',
  }) do
    _G['dovecot_lua_notify_event_' .. name] = event
  end
  function dovecot_lua_notify_event_mailbox_rename(txn, details)
    event(txn, details)
    event(txn, { mailbox = details.mailbox_old })
  end
end
