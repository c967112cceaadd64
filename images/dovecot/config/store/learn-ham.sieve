# A message has left Junk by a client's hand: no spam, unless it goes to the bin.
require ["vnd.dovecot.pipe", "copy", "imapsieve", "environment", "variables"];

if environment :is "imap.mailbox" ["Trash", "Quarantine"] {
  stop;
}
if environment :matches "imap.user" "*" {
  set "user" "${1}";
}
pipe :copy :try "queue-learning" ["ham", "${user}"];
