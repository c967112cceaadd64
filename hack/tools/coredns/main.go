// Command coredns is the cluster's DNS server with the plugins that a
// Kubernetes cluster and its tests need, and no others.
package main

import (
	_ "github.com/coredns/coredns/core/plugin"
	"github.com/coredns/coredns/coremain"
)

func main() { coremain.Run() }
