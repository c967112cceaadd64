package main

import (
	"bytes"
	"context"
	"fmt"
	"os/exec"
	"time"

	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"
	"k8s.io/klog/v2"
)

// enforcePolicies keeps the packet filter of this network namespace, a node's, in
// step with the NetworkPolicies. Only forwarded packets are filtered: what the node
// itself says to its pods (probes) and what pods say to the node (DNS) is not.
func enforcePolicies(ctx context.Context, client kubernetes.Interface, node string) error {
	factory := informers.NewSharedInformerFactory(client, 0)
	pods := factory.Core().V1().Pods()
	namespaces := factory.Core().V1().Namespaces()
	policies := factory.Networking().V1().NetworkPolicies()

	changed := make(chan struct{}, 1)
	announce := func() {
		select {
		case changed <- struct{}{}:
		default:
		}
	}
	handler := cache.ResourceEventHandlerFuncs{
		AddFunc:    func(any) { announce() },
		UpdateFunc: func(any, any) { announce() },
		DeleteFunc: func(any) { announce() },
	}
	for _, informer := range []cache.SharedIndexInformer{pods.Informer(), namespaces.Informer(), policies.Informer()} {
		if _, err := informer.AddEventHandler(handler); err != nil {
			return err
		}
	}
	factory.Start(ctx.Done())
	factory.WaitForCacheSync(ctx.Done())

	installed := ""
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-changed:
		}
		time.Sleep(100 * time.Millisecond) // several changes make one ruleset
		wanted, err := currentRuleset(node, pods.Lister().List, namespaces.Lister().List, policies.Lister().List)
		if err == nil && wanted != installed {
			err = install(ctx, wanted)
		}
		if err != nil {
			klog.ErrorS(err, "enforcing NetworkPolicies; trying again")
			time.AfterFunc(time.Second, announce)
			continue
		}
		installed = wanted
	}
}

type lister[T any] func(labels.Selector) ([]T, error)

func install(ctx context.Context, ruleset string) error {
	command := exec.CommandContext(ctx, "nft", "-f", "-")
	command.Stdin = bytes.NewBufferString(ruleset)
	if output, err := command.CombinedOutput(); err != nil {
		return fmt.Errorf("nft: %w: %s\n%s", err, output, ruleset)
	}
	return nil
}
