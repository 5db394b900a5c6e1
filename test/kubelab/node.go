package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"
)

const containerdSocket = "/run/containerd/containerd.sock"

// startNode starts containerd, the kubelet and kube-proxy.
func (m *inside) startNode(ctx context.Context) error {
	files, err := m.nodeFiles()
	if err != nil {
		return err
	}
	for name, content := range files {
		if err := os.WriteFile(name, []byte(content), 0o644); err != nil {
			return fmt.Errorf("configure the node: %w", err)
		}
	}
	if err := m.launch("containerd", "containerd", "--config", m.own("containerd.toml")); err != nil {
		return err
	}
	err = waitFor(ctx, time.Minute, "containerd", func(ctx context.Context) error {
		return quiet(ctx, "", "ctr", "--connect-timeout", "1s", "version")
	})
	if err != nil {
		return err
	}
	if len(m.Images) > 0 {
		for _, c := range importCommands(m.Images) {
			if err := quiet(ctx, "", c[0], c[1:]...); err != nil {
				return fmt.Errorf("import an image: %w", err)
			}
		}
	}
	err = m.launch("kubelet", "kubelet", "--config="+m.own("kubelet.json"), "--kubeconfig="+m.kubeconfigOf(m.Name),
		"--hostname-override="+m.Name, "--node-ip="+m.IP, fmt.Sprintf("--node-labels=topology.kubernetes.io/zone=zone%d", m.Node))
	if err != nil {
		return err
	}
	return m.startProxy(m.Name)
}

// startProxy starts kube-proxy for a node.
func (m *inside) startProxy(node string) error {
	config := m.own("proxy.json")
	b, err := json.Marshal(map[string]any{
		"apiVersion": "kubeproxy.config.k8s.io/v1alpha1", "kind": "KubeProxyConfiguration",
		"clientConnection": map[string]any{"kubeconfig": m.kubeconfigOf("proxy")},
		"hostnameOverride": node, "bindAddress": m.IP, "mode": "nftables", "clusterCIDR": podNetwork,
		// These settings are the whole machine's, not a network namespace's.
		"conntrack": map[string]any{"maxPerCore": 0, "tcpEstablishedTimeout": "0s", "tcpCloseWaitTimeout": "0s"},
	})
	if err != nil {
		return fmt.Errorf("configure kube-proxy: %w", err)
	}
	if err := os.WriteFile(config, b, 0o644); err != nil {
		return fmt.Errorf("configure kube-proxy: %w", err)
	}
	return m.launch("proxy", "kube-proxy", "--config="+config)
}

// nodeFiles are the files that configure the node, by path.
func (m *inside) nodeFiles() (map[string]string, error) {
	type object = map[string]any
	kubelet, err := json.MarshalIndent(object{
		"apiVersion": "kubelet.config.k8s.io/v1beta1", "kind": "KubeletConfiguration",
		"containerRuntimeEndpoint": "unix://" + containerdSocket,
		"cgroupDriver":             "cgroupfs", "cgroupRoot": "/" + m.Name, "enforceNodeAllocatable": []string{"pods"},
		"failCgroupV1": false, "failSwapOn": false,
		"authentication": object{
			"anonymous": object{"enabled": false}, "webhook": object{"enabled": true},
			"x509": object{"clientCAFile": filepath.Join(m.pki(), "ca.crt")},
		},
		"authorization": object{"mode": "Webhook"},
		"clusterDomain": clusterName, "clusterDNS": []string{dnsService}, "resolvConf": m.own("resolv.conf"),
		"nodeStatusUpdateFrequency": "4s",
		// All nodes share one disk, which must not evict pods.
		"evictionHard": object{
			"memory.available": "100Mi", "nodefs.available": "0%", "imagefs.available": "0%", "nodefs.inodesFree": "0%", "imagefs.inodesFree": "0%",
		},
		"imageGCHighThresholdPercent": 100, "imageGCLowThresholdPercent": 99,
		"serializeImagePulls": false, "maxPods": 60,
		// A crashed container is started again after a second, not after ten and more.
		"featureGates":     object{"KubeletCrashLoopBackOffMax": true},
		"crashLoopBackOff": object{"maxContainerRestartPeriod": "1s"},
	}, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("configure the kubelet: %w", err)
	}
	cni, err := json.Marshal(object{
		"cniVersion": "1.0.0", "name": "pods", "plugins": []object{
			{
				"type": "bridge", "bridge": "cni0", "isGateway": true, "ipMasq": false, "hairpinMode": true,
				"ipam": object{
					"type": "host-local", "ranges": [][]object{{{"subnet": podSubnet(m.Node)}}}, "routes": []object{{"dst": "0.0.0.0/0"}},
				},
			},
			{"type": "portmap", "capabilities": object{"portMappings": true}},
		},
	})
	if err != nil {
		return nil, fmt.Errorf("configure the network of pods: %w", err)
	}
	return map[string]string{
		m.own("kubelet.json"):             string(kubelet),
		m.own("containerd.toml"):          containerdConfig,
		m.own("resolv.conf"):              "",
		"/etc/cni/net.d/10-pods.conflist": string(cni),
	}, nil
}

// containerdConfig is that of containerd 1.6. Inside a container without CAP_SYS_RESOURCE it may not lower the
// oom_score_adj of processes.
var containerdConfig = strings.NewReplacer("PAUSE", pauseImage, "SOCKET", containerdSocket).Replace(`version = 2
root = "/var/lib/containerd"
state = "/run/containerd"
oom_score = 0
disabled_plugins = ["io.containerd.snapshotter.v1.btrfs", "io.containerd.snapshotter.v1.zfs", "io.containerd.snapshotter.v1.aufs",
  "io.containerd.snapshotter.v1.devmapper", "io.containerd.internal.v1.opt", "io.containerd.tracing.processor.v1.otlp"]
[grpc]
  address = "SOCKET"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "docker.io/PAUSE"
  netns_mounts_under_state_dir = true
  disable_apparmor = true
  restrict_oom_score_adj = true
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/usr/lib/cni"
    conf_dir = "/etc/cni/net.d"
  [plugins."io.containerd.grpc.v1.cri".containerd]
    default_runtime_name = "runc"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"
      [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
        SystemdCgroup = false
`)
