//go:build tools

// Package helm pins the real helm program, which tests install the chart with.
package helm

import _ "helm.sh/helm/v3/cmd/helm"
