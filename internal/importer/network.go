package importer

import "slices"

// everyone are the peers of a NetworkPolicy that lets everybody in: pods, and addresses outside the cluster.
func everyone() []any {
	return []any{
		map[string]any{"namespaceSelector": map[string]any{}},
		map[string]any{"ipBlock": map[string]any{"cidr": "0.0.0.0/0"}},
		map[string]any{"ipBlock": map[string]any{"cidr": "::/0"}},
	}
}

// ingressRules copies the peers of redis-ha's rules, which may name ports besides.
func ingressRules(j *job, path string, v any) outcome {
	list, _ := v.([]any)
	var from []any
	why := ""
	for _, item := range list {
		m, _ := item.(map[string]any)
		if ports, ok := m["ports"].([]any); ok && !slices.ContainsFunc(ports, isServer) {
			why = "rules for other ports than 6379 were left out"
			continue
		}
		peers, _ := m["selectors"].([]any)
		if len(peers) == 0 {
			peers = everyone()
		}
		from = append(from, peers...)
	}
	o := to("spec.networkPolicy.allowFrom")(j, path, from)
	if why != "" {
		o.why = why
	}
	return o
}

func isServer(port any) bool {
	m, _ := port.(map[string]any)
	n, ok := whole(m["port"])
	return ok && n == 6379
}

// bitnamiPolicy adds the rules for Bitnami's NetworkPolicy, which lets everybody in unless it is told otherwise.
func (s *source) bitnamiPolicy(values map[string]any) {
	if at(values, "networkPolicy.enabled") != true {
		instead(s.rules, "networkPolicy", "the NetworkPolicy is off")
		s.rules["networkPolicy.enabled"] = onlyIf("spec.networkPolicy.enabled")
		return
	}
	allow := func(path string) rule {
		return func(j *job, p string, _ any) outcome { return to(path)(j, p, everyone()) }
	}
	if at(values, "networkPolicy.allowExternal") == false {
		s.rules["networkPolicy.allowExternal"] = drop(`the chart lets pods in by a label, RELEASE-client: "true"; write that, or another one, into spec.networkPolicy.allowFrom`)
		s.rules["networkPolicy.ingressNSMatchLabels"] = bitnamiPeer(at(values, "networkPolicy.ingressNSPodMatchLabels"))
		s.rules["networkPolicy.ingressNSPodMatchLabels"] = keep("spec.networkPolicy.allowFrom")
	} else {
		s.rules["networkPolicy.allowExternal"] = allow("spec.networkPolicy.allowFrom")
		s.defaults["networkPolicy.allowExternal"] = true
	}
	if at(values, "metrics.enabled") == true && at(values, "networkPolicy.metrics.allowExternal") != false {
		s.rules["networkPolicy.metrics.allowExternal"] = allow("spec.networkPolicy.allowMetricsFrom")
		s.defaults["networkPolicy.metrics.allowExternal"] = true
	}
}

// bitnamiPeer copies the labels of namespaces, and of the pods in them.
func bitnamiPeer(pods any) rule {
	return func(j *job, path string, v any) outcome {
		if empty(v) {
			return outcome{why: saysNothing}
		}
		peer := map[string]any{"namespaceSelector": map[string]any{"matchLabels": v}}
		if !empty(pods) {
			peer["podSelector"] = map[string]any{"matchLabels": pods}
		}
		return to("spec.networkPolicy.allowFrom")(j, path, []any{peer})
	}
}
