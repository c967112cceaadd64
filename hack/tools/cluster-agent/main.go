// Command cluster-agent plays the parts that a cloud or a data centre plays for
// a Kubernetes cluster:
//
//	cluster-agent control   disks that belong to a node, and addresses for Services of type
//	                        LoadBalancer; runs on the control machine of hack/cluster, which
//	                        is also the router between the host and the nodes
//	cluster-agent node      enforces NetworkPolicies for the pods of one node; runs there
package main

import (
	"context"
	"flag"
	"fmt"
	"net/netip"
	"os"
	"os/signal"
	"syscall"
	"time"

	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/klog/v2"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:]); err != nil {
		klog.ErrorS(err, "cluster-agent failed")
		os.Exit(1)
	}
}

func run(ctx context.Context, arguments []string) error {
	if len(arguments) == 0 {
		return fmt.Errorf("usage: cluster-agent control|node FLAGS")
	}
	flags := flag.NewFlagSet(arguments[0], flag.ExitOnError)
	kubeconfig := flags.String("kubeconfig", "", "kubeconfig file")
	disks := flags.String("disks", "", "control: directory with one directory per node, its disk")
	balancerRange := flags.String("balancer-range", "", "control: addresses for Services of type LoadBalancer (CIDR)")
	node := flags.String("node", "", "node: its name")
	_ = flags.Parse(arguments[1:])

	config, err := clientcmd.BuildConfigFromFlags("", *kubeconfig)
	if err != nil {
		return err
	}
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return err
	}
	switch arguments[0] {
	case "control":
		return control(ctx, client, *disks, *balancerRange)
	case "node":
		return enforcePolicies(ctx, client, *node)
	}
	return fmt.Errorf("unknown part %q", arguments[0])
}

func control(ctx context.Context, client kubernetes.Interface, disks, balancerRange string) error {
	prefix, err := netip.ParsePrefix(balancerRange)
	if err != nil {
		return err
	}
	factory := informers.NewSharedInformerFactory(client, 0)
	balancer := newBalancer(client, factory, prefix)
	storage := &nodeStorage{root: disks, nodes: factory.Core().V1().Nodes().Lister()}
	factory.Start(ctx.Done())
	factory.WaitForCacheSync(ctx.Done())

	go balancer.run(ctx, time.Second)
	storage.run(ctx, client)
	return nil
}
