package main

import (
	"strings"
	"testing"

	v1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/intstr"
)

func testPod(namespace, app, node, address string) *v1.Pod {
	return &v1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: app, Labels: map[string]string{"app": app}},
		Spec: v1.PodSpec{NodeName: node, Containers: []v1.Container{{
			Ports: []v1.ContainerPort{{Name: "smtp", ContainerPort: 25, Protocol: v1.ProtocolTCP}},
		}}},
		Status: v1.PodStatus{PodIP: address},
	}
}

func selector(app string) *metav1.LabelSelector {
	return &metav1.LabelSelector{MatchLabels: map[string]string{"app": app}}
}

func testWorld(spec networkingv1.NetworkPolicySpec) world {
	return world{
		pods: []*v1.Pod{
			testPod("mail", "mx", "n1", "10.0.1.1"),
			testPod("mail", "client", "n2", "10.0.2.1"),
			testPod("other", "client", "n2", "10.0.2.2"),
		},
		namespaces: map[string]labels.Set{"mail": {"team": "a"}, "other": {"team": "b"}},
		policies: []*networkingv1.NetworkPolicy{
			{ObjectMeta: metav1.ObjectMeta{Namespace: "mail"}, Spec: spec},
		},
	}
}

func port(value intstr.IntOrString) networkingv1.NetworkPolicyPort {
	return networkingv1.NetworkPolicyPort{Port: &value}
}

func TestRuleset(t *testing.T) {
	end := int32(30)
	ranged := port(intstr.FromInt32(25))
	ranged.EndPort = &end
	ingress := []networkingv1.PolicyType{networkingv1.PolicyTypeIngress}
	egress := []networkingv1.PolicyType{networkingv1.PolicyTypeEgress}
	cases := []struct {
		name string
		spec networkingv1.NetworkPolicySpec
		want []string // lines of the only chain, in order
	}{
		{"deny all", networkingv1.NetworkPolicySpec{PodSelector: *selector("mx"), PolicyTypes: ingress}, []string{"drop"}},
		{"allow all", networkingv1.NetworkPolicySpec{
			PodSelector: *selector("mx"), PolicyTypes: ingress,
			Ingress: []networkingv1.NetworkPolicyIngressRule{{}},
		}, []string{"return", "drop"}},
		{"pods of the same namespace, named port", networkingv1.NetworkPolicySpec{
			PodSelector: *selector("mx"), PolicyTypes: ingress,
			Ingress: []networkingv1.NetworkPolicyIngressRule{{
				From:  []networkingv1.NetworkPolicyPeer{{PodSelector: selector("client")}},
				Ports: []networkingv1.NetworkPolicyPort{port(intstr.FromString("smtp"))},
			}},
		}, []string{"ip saddr { 10.0.2.1 } tcp dport 25 return", "drop"}},
		{"pods of another namespace", networkingv1.NetworkPolicySpec{
			PodSelector: *selector("mx"), PolicyTypes: ingress,
			Ingress: []networkingv1.NetworkPolicyIngressRule{{
				From: []networkingv1.NetworkPolicyPeer{{
					PodSelector:       selector("client"),
					NamespaceSelector: &metav1.LabelSelector{MatchLabels: map[string]string{"team": "b"}},
				}},
				Ports: []networkingv1.NetworkPolicyPort{ranged},
			}},
		}, []string{"ip saddr { 10.0.2.2 } tcp dport 25-30 return", "drop"}},
		{"selected pods that do not exist", networkingv1.NetworkPolicySpec{
			PodSelector: *selector("mx"), PolicyTypes: ingress,
			Ingress: []networkingv1.NetworkPolicyIngressRule{{
				From: []networkingv1.NetworkPolicyPeer{{PodSelector: selector("nobody")}},
			}},
		}, []string{"drop"}},
		{"egress to a block with a hole", networkingv1.NetworkPolicySpec{
			PodSelector: *selector("mx"), PolicyTypes: egress,
			Egress: []networkingv1.NetworkPolicyEgressRule{{
				To: []networkingv1.NetworkPolicyPeer{{IPBlock: &networkingv1.IPBlock{CIDR: "10.0.0.0/8", Except: []string{"10.9.0.0/16"}}}},
			}},
		}, []string{"ip daddr 10.0.0.0/8 ip daddr != 10.9.0.0/16 return", "drop"}},
		{"egress to a named port", networkingv1.NetworkPolicySpec{
			PodSelector: *selector("mx"), PolicyTypes: egress,
			Egress: []networkingv1.NetworkPolicyEgressRule{{
				To:    []networkingv1.NetworkPolicyPeer{{PodSelector: selector("client")}},
				Ports: []networkingv1.NetworkPolicyPort{port(intstr.FromString("smtp"))},
			}},
		}, []string{"ip daddr 10.0.2.1 tcp dport 25 return", "drop"}},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			got := chainLines(ruleset("n1", testWorld(c.spec)))
			if strings.Join(got, "\n") != strings.Join(c.want, "\n") {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}

func TestRulesetLeavesOthersAlone(t *testing.T) {
	w := testWorld(networkingv1.NetworkPolicySpec{
		PodSelector: *selector("mx"), PolicyTypes: []networkingv1.PolicyType{networkingv1.PolicyTypeIngress},
	})
	if got := ruleset("n2", w); strings.Contains(got, "drop") {
		t.Errorf("a node without a selected pod filters: %s", got)
	}
}

func chainLines(ruleset string) []string {
	_, rest, _ := strings.Cut(ruleset, "{ # ")
	body, _, _ := strings.Cut(rest, "\n  }")
	var lines []string
	for _, line := range strings.Split(body, "\n")[1:] {
		lines = append(lines, strings.TrimSpace(line))
	}
	return lines
}
