package main

import (
	"fmt"
	"sort"
	"strings"

	v1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// world is what NetworkPolicies speak about.
type world struct {
	pods       []*v1.Pod
	namespaces map[string]labels.Set
	policies   []*networkingv1.NetworkPolicy
}

func currentRuleset(node string, pods lister[*v1.Pod], namespaces lister[*v1.Namespace], policies lister[*networkingv1.NetworkPolicy]) (string, error) {
	w := world{namespaces: map[string]labels.Set{}}
	allPods, err := pods(labels.Everything())
	if err != nil {
		return "", err
	}
	for _, pod := range allPods {
		if hasAddress(pod) {
			w.pods = append(w.pods, pod)
		}
	}
	allNamespaces, err := namespaces(labels.Everything())
	if err != nil {
		return "", err
	}
	for _, namespace := range allNamespaces {
		w.namespaces[namespace.Name] = namespace.Labels
	}
	if w.policies, err = policies(labels.Everything()); err != nil {
		return "", err
	}
	sort.Slice(w.pods, func(i, j int) bool { return w.pods[i].UID < w.pods[j].UID })
	sort.Slice(w.policies, func(i, j int) bool { return w.policies[i].UID < w.policies[j].UID })
	return ruleset(node, w), nil
}

func hasAddress(pod *v1.Pod) bool {
	return pod.Status.PodIP != "" && !pod.Spec.HostNetwork &&
		pod.Status.Phase != v1.PodSucceeded && pod.Status.Phase != v1.PodFailed
}

// direction is one of the two sides of the API, which mirror each other.
type direction struct {
	kind    networkingv1.PolicyType
	own     string // the pod's side of a packet
	peer    string // the other side
	entries func(*networkingv1.NetworkPolicy) []entry
}

// entry is an ingress or egress rule; no peers or no ports mean all of them.
type entry struct {
	peers []networkingv1.NetworkPolicyPeer
	ports []networkingv1.NetworkPolicyPort
}

var directions = []direction{
	{networkingv1.PolicyTypeEgress, "saddr", "daddr", func(policy *networkingv1.NetworkPolicy) (entries []entry) {
		for _, rule := range policy.Spec.Egress {
			entries = append(entries, entry{rule.To, rule.Ports})
		}
		return entries
	}},
	{networkingv1.PolicyTypeIngress, "daddr", "saddr", func(policy *networkingv1.NetworkPolicy) (entries []entry) {
		for _, rule := range policy.Spec.Ingress {
			entries = append(entries, entry{rule.From, rule.Ports})
		}
		return entries
	}},
}

// ruleset renders one chain per isolated pod of the node and direction: what a
// policy allows returns, the rest is dropped. A packet must pass both directions.
func ruleset(node string, w world) string {
	var chains, hooks strings.Builder
	for _, d := range directions {
		var jumps []string
		for _, pod := range w.pods {
			if pod.Spec.NodeName != node {
				continue
			}
			selecting := w.selecting(pod, d.kind)
			if len(selecting) == 0 {
				continue
			}
			name := strings.ToLower(string(d.kind)) + "-" + strings.ReplaceAll(pod.Status.PodIP, ".", "-")
			fmt.Fprintf(&chains, "  chain %s { # %s/%s\n", name, pod.Namespace, pod.Name)
			for _, match := range w.matches(d, pod, selecting) {
				fmt.Fprintf(&chains, "    %s\n", strings.TrimSpace(match+" return"))
			}
			chains.WriteString("    drop\n  }\n")
			jumps = append(jumps, pod.Status.PodIP+" : jump "+name)
		}
		if len(jumps) > 0 {
			fmt.Fprintf(&hooks, "    ip %s vmap { %s }\n", d.own, strings.Join(jumps, ", "))
		}
	}
	return "table ip policies\ndelete table ip policies\ntable ip policies {\n" + chains.String() +
		"  chain forward {\n    type filter hook forward priority filter\n    ct state established,related accept\n" +
		hooks.String() + "  }\n}\n"
}

func (w world) selecting(pod *v1.Pod, kind networkingv1.PolicyType) []*networkingv1.NetworkPolicy {
	var found []*networkingv1.NetworkPolicy
	for _, policy := range w.policies {
		if policy.Namespace == pod.Namespace && applies(policy, kind) && selects(&policy.Spec.PodSelector, pod.Labels) {
			found = append(found, policy)
		}
	}
	return found
}

func applies(policy *networkingv1.NetworkPolicy, kind networkingv1.PolicyType) bool {
	for _, each := range policy.Spec.PolicyTypes { // the API server defaults them
		if each == kind {
			return true
		}
	}
	return false
}

func selects(selector *metav1.LabelSelector, set labels.Set) bool {
	parsed, err := metav1.LabelSelectorAsSelector(selector)
	return err == nil && parsed.Matches(set)
}

func (w world) matches(d direction, pod *v1.Pod, policies []*networkingv1.NetworkPolicy) []string {
	var matches []string
	for _, policy := range policies {
		for _, each := range d.entries(policy) {
			matches = append(matches, w.entryMatches(d, pod, policy.Namespace, each)...)
		}
	}
	return matches
}

func (w world) entryMatches(d direction, pod *v1.Pod, namespace string, e entry) []string {
	if len(e.ports) == 0 {
		e.ports = []networkingv1.NetworkPolicyPort{{}}
	}
	peerPods, blocks := w.peers(namespace, e.peers)
	var matches []string
	for _, port := range e.ports {
		if port.Port != nil && port.Port.Type == intstr.String && d.kind == networkingv1.PolicyTypeEgress {
			matches = append(matches, namedEgress(peerPods, port)...)
			continue
		}
		ports := portMatches(pod, port, len(e.ports) == 1 && port == (networkingv1.NetworkPolicyPort{}))
		for _, from := range addressMatches(d.peer, e.peers, peerPods, blocks) {
			for _, to := range ports {
				matches = append(matches, strings.TrimSpace(from+" "+to))
			}
		}
	}
	return matches
}

// peers splits peers into the pods that they select and the address blocks; no peers select all pods.
func (w world) peers(namespace string, peers []networkingv1.NetworkPolicyPeer) (pods []*v1.Pod, blocks []*networkingv1.IPBlock) {
	if len(peers) == 0 {
		return w.pods, nil
	}
	for _, peer := range peers {
		if peer.IPBlock != nil {
			blocks = append(blocks, peer.IPBlock)
		}
	}
	for _, pod := range w.pods {
		for _, peer := range peers {
			if peer.IPBlock == nil && w.isPeer(namespace, peer, pod) {
				pods = append(pods, pod)
				break
			}
		}
	}
	return pods, blocks
}

func (w world) isPeer(namespace string, peer networkingv1.NetworkPolicyPeer, pod *v1.Pod) bool {
	if peer.NamespaceSelector == nil {
		if pod.Namespace != namespace {
			return false
		}
	} else if !selects(peer.NamespaceSelector, w.namespaces[pod.Namespace]) {
		return false
	}
	return peer.PodSelector == nil || selects(peer.PodSelector, pod.Labels)
}

func addressMatches(side string, peers []networkingv1.NetworkPolicyPeer, pods []*v1.Pod, blocks []*networkingv1.IPBlock) []string {
	if len(peers) == 0 {
		return []string{""}
	}
	var matches []string
	if len(pods) > 0 {
		addresses := make([]string, len(pods))
		for i, pod := range pods {
			addresses[i] = pod.Status.PodIP
		}
		matches = append(matches, fmt.Sprintf("ip %s { %s }", side, strings.Join(addresses, ", ")))
	}
	for _, block := range blocks {
		if strings.Contains(block.CIDR, ":") {
			continue // the cluster has IPv4 only
		}
		match := fmt.Sprintf("ip %s %s", side, block.CIDR)
		for _, except := range block.Except {
			match += fmt.Sprintf(" ip %s != %s", side, except)
		}
		matches = append(matches, match)
	}
	return matches
}

// portMatches renders a port of the pod itself, or of any peer if it is a number.
func portMatches(pod *v1.Pod, port networkingv1.NetworkPolicyPort, all bool) []string {
	protocol := protocolOf(port)
	switch {
	case all:
		return []string{""}
	case port.Port == nil:
		return []string{"meta l4proto " + protocol}
	case port.Port.Type == intstr.String:
		var matches []string
		for _, number := range namedPorts(pod, port) {
			matches = append(matches, fmt.Sprintf("%s dport %d", protocol, number))
		}
		return matches
	case port.EndPort != nil:
		return []string{fmt.Sprintf("%s dport %d-%d", protocol, port.Port.IntVal, *port.EndPort)}
	}
	return []string{fmt.Sprintf("%s dport %d", protocol, port.Port.IntVal)}
}

// namedEgress resolves a port's name on each pod that may be talked to.
func namedEgress(pods []*v1.Pod, port networkingv1.NetworkPolicyPort) []string {
	var matches []string
	for _, pod := range pods {
		for _, number := range namedPorts(pod, port) {
			matches = append(matches, fmt.Sprintf("ip daddr %s %s dport %d", pod.Status.PodIP, protocolOf(port), number))
		}
	}
	return matches
}

func namedPorts(pod *v1.Pod, port networkingv1.NetworkPolicyPort) []int32 {
	var numbers []int32
	for _, container := range append(append([]v1.Container{}, pod.Spec.InitContainers...), pod.Spec.Containers...) {
		for _, each := range container.Ports {
			if each.Name == port.Port.StrVal && strings.EqualFold(string(each.Protocol), protocolOf(port)) {
				numbers = append(numbers, each.ContainerPort)
			}
		}
	}
	return numbers
}

func protocolOf(port networkingv1.NetworkPolicyPort) string {
	if port.Protocol == nil {
		return "tcp"
	}
	return strings.ToLower(string(*port.Protocol))
}
