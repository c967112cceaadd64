package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	v1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	corelisters "k8s.io/client-go/listers/core/v1"
	"sigs.k8s.io/sig-storage-lib-external-provisioner/v13/controller"
)

const provisionerName = "posthorn.dev/local"

// nodeStorage provisions directories on the disk of one node: a volume that a
// killed node takes along. They are `local` volumes, so the kubelet honours fsGroup.
type nodeStorage struct {
	root  string
	nodes corelisters.NodeLister
}

func (s *nodeStorage) run(ctx context.Context, client kubernetes.Interface) {
	controller.NewProvisionController(ctx, client, provisionerName, s,
		controller.LeaderElection(false),
		controller.FailedProvisionThreshold(0), // 0: try for ever
		controller.FailedDeleteThreshold(0),
	).Run(ctx)
}

// Provision makes the directory. The size asked for is recorded, not enforced.
func (s *nodeStorage) Provision(_ context.Context, options controller.ProvisionOptions) (*v1.PersistentVolume, controller.ProvisioningState, error) {
	claim := options.PVC
	if claim.Spec.Selector != nil {
		return nil, controller.ProvisioningFinished, errors.New("a claim with a selector is not supported")
	}
	for _, mode := range claim.Spec.AccessModes {
		if mode != v1.ReadWriteOnce && mode != v1.ReadWriteOncePod {
			return nil, controller.ProvisioningFinished, fmt.Errorf("access mode %s is not supported: a volume belongs to one node", mode)
		}
	}
	if options.SelectedNodeName == "" {
		return nil, controller.ProvisioningFinished, errors.New("no node selected: the storage class must have volumeBindingMode WaitForFirstConsumer")
	}
	node, err := s.nodes.Get(options.SelectedNodeName)
	if err != nil {
		return nil, controller.ProvisioningReschedule, err
	}
	if !ready(node) {
		return nil, controller.ProvisioningReschedule, fmt.Errorf("node %s is not ready", node.Name)
	}
	directory := s.directory(node.Name, options.PVName)
	if err := os.MkdirAll(directory, 0o777); err != nil {
		return nil, controller.ProvisioningFinished, err
	}
	// MkdirAll's mode is subject to the umask.
	if err := os.Chmod(directory, 0o777); err != nil {
		return nil, controller.ProvisioningFinished, err
	}
	return volumeOn(node, directory, options), controller.ProvisioningFinished, nil
}

// Delete removes the directory, or fails until the node is back.
func (s *nodeStorage) Delete(_ context.Context, volume *v1.PersistentVolume) error {
	name, err := nodeOf(volume)
	if err != nil {
		return err
	}
	node, err := s.nodes.Get(name)
	if err != nil && !apierrors.IsNotFound(err) {
		return err
	}
	if err == nil && !ready(node) {
		return fmt.Errorf("node %s is not ready", name)
	}
	return os.RemoveAll(s.directory(name, volume.Name))
}

func (s *nodeStorage) directory(node, volume string) string {
	return filepath.Join(s.root, node, "volumes", volume)
}

func volumeOn(node *v1.Node, directory string, options controller.ProvisionOptions) *v1.PersistentVolume {
	hostname := node.Labels[v1.LabelHostname]
	return &v1.PersistentVolume{
		ObjectMeta: metav1.ObjectMeta{Name: options.PVName},
		Spec: v1.PersistentVolumeSpec{
			PersistentVolumeReclaimPolicy: *options.StorageClass.ReclaimPolicy,
			AccessModes:                   options.PVC.Spec.AccessModes,
			MountOptions:                  options.StorageClass.MountOptions,
			Capacity: v1.ResourceList{
				v1.ResourceStorage: options.PVC.Spec.Resources.Requests[v1.ResourceStorage],
			},
			PersistentVolumeSource: v1.PersistentVolumeSource{
				Local: &v1.LocalVolumeSource{Path: directory},
			},
			NodeAffinity: &v1.VolumeNodeAffinity{Required: &v1.NodeSelector{
				NodeSelectorTerms: []v1.NodeSelectorTerm{{
					MatchExpressions: []v1.NodeSelectorRequirement{{
						Key: v1.LabelHostname, Operator: v1.NodeSelectorOpIn, Values: []string{hostname},
					}},
				}},
			}},
		},
	}
}

// nodeOf reads the node back from the path, which is …/NODE/volumes/VOLUME.
func nodeOf(volume *v1.PersistentVolume) (string, error) {
	if volume.Spec.Local == nil {
		return "", fmt.Errorf("volume %s is not a local volume", volume.Name)
	}
	parts := strings.Split(volume.Spec.Local.Path, "/")
	if len(parts) < 4 || parts[len(parts)-1] != volume.Name || parts[len(parts)-2] != "volumes" {
		return "", fmt.Errorf("volume %s has an unexpected path %s", volume.Name, volume.Spec.Local.Path)
	}
	return parts[len(parts)-3], nil
}

func ready(node *v1.Node) bool {
	for _, condition := range node.Status.Conditions {
		if condition.Type == v1.NodeReady {
			return condition.Status == v1.ConditionTrue
		}
	}
	return false
}
