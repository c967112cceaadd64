# The mx's filter marks what it accepted but holds for spam. A filed message is done with: the person's own
# script does not run on it.
require ["fileinto"];

if header :is "X-Spam" "Yes" {
  fileinto "Junk";
}
