// Command cluster-agent plays the parts that a cloud or a data centre plays for
// a Kubernetes cluster: disks that belong to a node, and addresses for Services
// of type LoadBalancer. It runs on the control machine of hack/cluster, which is
// also the router between the host and the nodes.
package main

import (
	"context"
	"flag"
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
	kubeconfig := flag.String("kubeconfig", "", "kubeconfig file")
	nodes := flag.String("nodes", "", "directory with one directory per node, its disk")
	balancerRange := flag.String("balancer-range", "", "addresses for Services of type LoadBalancer (CIDR)")
	flag.Parse()

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, *kubeconfig, *nodes, *balancerRange); err != nil {
		klog.ErrorS(err, "cluster-agent failed")
		os.Exit(1)
	}
}

func run(ctx context.Context, kubeconfig, nodes, balancerRange string) error {
	prefix, err := netip.ParsePrefix(balancerRange)
	if err != nil {
		return err
	}
	config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		return err
	}
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return err
	}
	factory := informers.NewSharedInformerFactory(client, 0)
	balancer := newBalancer(client, factory, prefix)
	storage := &nodeStorage{root: nodes, nodes: factory.Core().V1().Nodes().Lister()}
	factory.Start(ctx.Done())
	factory.WaitForCacheSync(ctx.Done())

	go balancer.run(ctx, time.Second)
	storage.run(ctx, client)
	return nil
}
