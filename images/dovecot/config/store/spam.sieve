# The mx's filter marks what it accepted but holds for spam, or for something that an admin wants to look at first. A
# filed message is done with: no other script runs on it, so it is not answered either.
require ["fileinto", "mailbox"];

if header :is "X-Spam-Action" "quarantine" {
  fileinto :create "Quarantine";
} elsif header :is "X-Spam" "Yes" {
  fileinto "Junk";
}
