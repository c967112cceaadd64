package main

import (
	"context"
	"net"
	"net/netip"
	"sort"
	"time"

	"github.com/vishvananda/netlink"
	v1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	corelisters "k8s.io/client-go/listers/core/v1"
	discoverylisters "k8s.io/client-go/listers/discovery/v1"
	"k8s.io/klog/v2"
)

// balancer gives every Service of type LoadBalancer an address and routes that
// address to one node, as MetalLB does: to a node that runs a ready endpoint if
// the Service asks for externalTrafficPolicy Local (then clients' addresses are
// seen), else to any node.
type balancer struct {
	client   kubernetes.Interface
	services corelisters.ServiceLister
	nodes    corelisters.NodeLister
	slices   discoverylisters.EndpointSliceLister
	prefix   netip.Prefix
}

func newBalancer(client kubernetes.Interface, factory informers.SharedInformerFactory, prefix netip.Prefix) *balancer {
	return &balancer{
		client:   client,
		services: factory.Core().V1().Services().Lister(),
		nodes:    factory.Core().V1().Nodes().Lister(),
		slices:   factory.Discovery().V1().EndpointSlices().Lister(),
		prefix:   prefix,
	}
}

func (b *balancer) run(ctx context.Context, interval time.Duration) {
	ticker := time.NewTicker(interval)
	defer ticker.Stop()
	for {
		if err := b.reconcile(ctx); err != nil {
			klog.ErrorS(err, "giving load balancer addresses")
		}
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}

func (b *balancer) reconcile(ctx context.Context) error {
	services, err := b.services.List(labels.Everything())
	if err != nil {
		return err
	}
	taken := map[netip.Addr]bool{}
	var balanced []*v1.Service
	for _, service := range services {
		if service.Spec.Type != v1.ServiceTypeLoadBalancer || service.Spec.LoadBalancerClass != nil {
			continue
		}
		balanced = append(balanced, service)
		taken[addressOf(service)] = true
	}
	sort.Slice(balanced, func(i, j int) bool { return balanced[i].UID < balanced[j].UID })
	for _, service := range balanced {
		address := addressOf(service)
		if !address.IsValid() {
			if address, err = b.assign(ctx, service, taken); err != nil {
				return err
			}
			taken[address] = true
		}
		if err := b.route(service, address); err != nil {
			klog.ErrorS(err, "routing a load balancer address", "service", klog.KObj(service), "address", address)
		}
	}
	return nil
}

func addressOf(service *v1.Service) netip.Addr {
	for _, ingress := range service.Status.LoadBalancer.Ingress {
		if address, err := netip.ParseAddr(ingress.IP); err == nil {
			return address
		}
	}
	return netip.Addr{}
}

func (b *balancer) assign(ctx context.Context, service *v1.Service, taken map[netip.Addr]bool) (netip.Addr, error) {
	address := b.free(taken)
	if wanted, err := netip.ParseAddr(service.Spec.LoadBalancerIP); err == nil && b.prefix.Contains(wanted) && !taken[wanted] {
		address = wanted
	}
	changed := service.DeepCopy()
	changed.Status.LoadBalancer.Ingress = []v1.LoadBalancerIngress{{IP: address.String()}}
	_, err := b.client.CoreV1().Services(service.Namespace).UpdateStatus(ctx, changed, metav1.UpdateOptions{})
	klog.InfoS("load balancer address", "service", klog.KObj(service), "address", address, "err", err)
	return address, err
}

func (b *balancer) free(taken map[netip.Addr]bool) netip.Addr {
	address := b.prefix.Addr().Next()
	for taken[address] {
		address = address.Next()
	}
	return address
}

// route points the address at a node, or nowhere if no node can serve it.
func (b *balancer) route(service *v1.Service, address netip.Addr) error {
	destination := &net.IPNet{IP: address.AsSlice(), Mask: net.CIDRMask(32, 32)}
	node, link := b.pick(service)
	if node == nil {
		return netlink.RouteReplace(&netlink.Route{Dst: destination, Type: 7 /* unreachable */})
	}
	return netlink.RouteReplace(&netlink.Route{
		Dst: destination, Gw: nodeAddress(node), LinkIndex: link.Attrs().Index, Flags: int(netlink.FLAG_ONLINK),
	})
}

// pick chooses the first node, by name, that is plugged in and fits. A killed
// node's interface is gone at once, long before Kubernetes calls it not ready.
func (b *balancer) pick(service *v1.Service) (*v1.Node, netlink.Link) {
	nodes, err := b.nodes.List(labels.Everything())
	if err != nil {
		return nil, nil
	}
	sort.Slice(nodes, func(i, j int) bool { return nodes[i].Name < nodes[j].Name })
	local := service.Spec.ExternalTrafficPolicy == v1.ServiceExternalTrafficPolicyLocal
	for _, node := range nodes {
		link, err := netlink.LinkByName(node.Name)
		if err != nil || nodeAddress(node) == nil {
			continue
		}
		if !local || b.servesOn(service, node.Name) {
			return node, link
		}
	}
	return nil, nil
}

func (b *balancer) servesOn(service *v1.Service, node string) bool {
	slices, err := b.slices.EndpointSlices(service.Namespace).List(labels.SelectorFromSet(labels.Set{
		discoveryv1.LabelServiceName: service.Name,
	}))
	if err != nil {
		return false
	}
	for _, slice := range slices {
		for _, endpoint := range slice.Endpoints {
			isReady := endpoint.Conditions.Ready == nil || *endpoint.Conditions.Ready
			if isReady && endpoint.NodeName != nil && *endpoint.NodeName == node {
				return true
			}
		}
	}
	return false
}

func nodeAddress(node *v1.Node) net.IP {
	for _, address := range node.Status.Addresses {
		if address.Type == v1.NodeInternalIP {
			return net.ParseIP(address.Address).To4()
		}
	}
	return nil
}
