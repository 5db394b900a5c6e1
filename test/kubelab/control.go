package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"time"
)

// startControl starts etcd, the API server, the controllers and the scheduler.
func (m *inside) startControl(ctx context.Context) error {
	pki := func(name string) string { return filepath.Join(m.pki(), name) }
	const etcd, peers = "http://127.0.0.1:2379", "http://127.0.0.1:2380"
	// The data of a lab need not outlive a loss of power.
	err := m.launch("etcd", "etcd", "--name="+control, "--data-dir="+m.own("etcd"), "--unsafe-no-fsync", "--logger=zap", "--log-level=warn",
		"--listen-client-urls="+etcd, "--advertise-client-urls="+etcd,
		"--listen-peer-urls="+peers, "--initial-advertise-peer-urls="+peers, "--initial-cluster="+control+"="+peers)
	if err != nil {
		return err
	}
	err = m.launch("apiserver", "kube-apiserver", "--etcd-servers="+etcd,
		"--bind-address=0.0.0.0", "--secure-port=6443", "--advertise-address="+controlIP,
		"--tls-cert-file="+pki("apiserver.crt"), "--tls-private-key-file="+pki("apiserver.key"), "--client-ca-file="+pki("ca.crt"),
		"--kubelet-client-certificate="+pki("kubelet-client.crt"), "--kubelet-client-key="+pki("kubelet-client.key"),
		"--kubelet-preferred-address-types=InternalIP",
		"--service-account-key-file="+pki("sa.pub"), "--service-account-signing-key-file="+pki("sa.key"),
		"--service-account-issuer=https://kubernetes.default.svc."+clusterName,
		"--service-cluster-ip-range="+serviceNet, "--token-auth-file="+pki("tokens.csv"),
		"--authorization-mode=Node,RBAC", "--enable-admission-plugins=NodeRestriction", "--allow-privileged=true",
		"--requestheader-client-ca-file="+pki("ca.crt"), "--requestheader-allowed-names=front-proxy-client",
		"--requestheader-username-headers=X-Remote-User", "--requestheader-group-headers=X-Remote-Group",
		"--requestheader-extra-headers-prefix=X-Remote-Extra-",
		"--proxy-client-cert-file="+pki("front-proxy.crt"), "--proxy-client-key-file="+pki("front-proxy.key"),
		"--profiling=false")
	if err != nil {
		return err
	}
	// The controller manager ends when the roles of the cluster are not there yet.
	if err := m.awaitAPI(ctx); err != nil {
		return err
	}
	as := func(identity string) []string {
		file := m.kubeconfigOf(identity)
		return []string{
			"--kubeconfig=" + file, "--authentication-kubeconfig=" + file, "--authorization-kubeconfig=" + file,
			"--leader-elect=false", "--bind-address=127.0.0.1",
		}
	}
	err = m.launch("controllers", append([]string{
		"kube-controller-manager",
		"--use-service-account-credentials=true", "--service-account-private-key-file=" + pki("sa.key"), "--root-ca-file=" + pki("ca.crt"),
		"--node-monitor-grace-period=20s", "--node-monitor-period=2s", "--enable-hostpath-provisioner=true",
		"--cluster-signing-cert-file=" + pki("ca.crt"), "--cluster-signing-key-file=" + pki("ca.key"),
	}, as("controllers")...)...)
	if err != nil {
		return err
	}
	go openVolumes(m.dir("volumes"))
	return m.launch("scheduler", append([]string{"kube-scheduler"}, as("scheduler")...)...)
}

// awaitAPI waits until the API server is ready.
func (l *lab) awaitAPI(ctx context.Context) error {
	ca, err := os.ReadFile(filepath.Join(l.pki(), "ca.crt"))
	if err != nil {
		return fmt.Errorf("read the certificate authority: %w", err)
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(ca) {
		return errors.New("ca.crt holds no certificate")
	}
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}}
	defer transport.CloseIdleConnections()
	c := http.Client{Transport: transport}
	return waitFor(ctx, 2*time.Minute, "the API server to be ready", func(ctx context.Context) error {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, apiServer+"/readyz", nil)
		if err != nil {
			return err
		}
		resp, err := c.Do(req)
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		if resp.StatusCode != http.StatusOK {
			return errors.New(resp.Status)
		}
		return nil
	})
}

// openVolumes lets everybody write into every new volume, for as long as the machine is on: the provisioner makes
// directories of root, and a kubelet changes the owner for fsGroup on real volumes only.
func openVolumes(dir string) {
	opened := map[string]bool{}
	look := time.NewTicker(50 * time.Millisecond)
	defer look.Stop()
	for range look.C {
		entries, err := os.ReadDir(dir)
		if err != nil {
			continue
		}
		for _, e := range entries {
			if path := filepath.Join(dir, e.Name()); !opened[path] && os.Chmod(path, 0o777) == nil {
				opened[path] = true
			}
		}
	}
}
