# A message has come into Junk by a client's hand.
require ["vnd.dovecot.pipe", "copy", "imapsieve", "environment", "variables"];

if environment :matches "imap.user" "*" {
  set "user" "${1}";
}
pipe :copy :try "queue-learning" ["spam", "${user}"];
