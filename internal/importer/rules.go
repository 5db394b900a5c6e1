package importer

import (
	"encoding/json"
	"fmt"
	"maps"
	"strconv"
	"strings"

	"redstart.dev/redstart/api/v1alpha1"
)

// saysNothing is the reason for a value that sets nothing.
const saysNothing = "it is empty, and sets nothing"

// asItIs is the reason for a value that a Redis has anyway.
const asItIs = "that is so without being asked for"

// to copies a value to a field.
func to(path string) rule {
	return func(j *job, _ string, v any) outcome {
		if empty(v) {
			return outcome{why: saysNothing}
		}
		if err := j.set(path, v); err != nil {
			return outcome{why: err.Error()}
		}
		return outcome{to: []string{path}}
	}
}

// drop tells why there is no place for a value.
func drop(why string) rule {
	return func(_ *job, _ string, v any) outcome {
		if empty(v) {
			return outcome{why: saysNothing}
		}
		return outcome{why: why}
	}
}

// off drops a value that a chart has switched off, and tells why it is dropped where it is on.
func off(why string) rule {
	return func(j *job, path string, v any) outcome {
		if v == false {
			return outcome{why: asItIs}
		}
		return drop(why)(j, path, v)
	}
}

// instead puts one reason in the place of all rules for a part of the values.
func instead(rules map[string]rule, part, why string) {
	maps.DeleteFunc(rules, func(path string, _ rule) bool { return path == part || strings.HasPrefix(path, part+".") })
	rules[part+".*"] = drop(why)
}

// keep leaves a value for finish. Its line says where that will put it.
func keep(where ...string) rule {
	return func(j *job, path string, v any) outcome {
		if empty(v) {
			return outcome{why: saysNothing}
		}
		j.given[path] = v
		return outcome{to: where}
	}
}

// milliseconds copies a number of milliseconds to a duration.
func milliseconds(path string) rule {
	return func(j *job, p string, v any) outcome {
		n, ok := whole(v)
		if empty(v) {
			return outcome{why: saysNothing}
		}
		if !ok {
			return outcome{why: "expected a whole number of milliseconds"}
		}
		return to(path)(j, p, fmt.Sprintf("%dms", n))
	}
}

// integer copies a whole number, which may be written as text.
func integer(path string) rule {
	return func(j *job, p string, v any) outcome {
		n, ok := whole(v)
		if empty(v) {
			return outcome{why: saysNothing}
		}
		if !ok {
			return outcome{why: "expected a whole number"}
		}
		return to(path)(j, p, n)
	}
}

// object copies a map; charts allow texts with templates in these places.
func object(path string) rule {
	return func(j *job, p string, v any) outcome {
		if s, ok := v.(string); ok && !empty(s) {
			return outcome{why: "it is text with a template; write it as YAML into " + path}
		}
		return to(path)(j, p, v)
	}
}

// placed copies rules for the places of pods. They may select pods by labels that the chart's pods have.
func placed(path string) rule {
	return func(j *job, p string, v any) outcome {
		o := object(path)(j, p, v)
		if b, err := json.Marshal(v); len(o.to) > 0 && (err != nil || strings.Contains(string(b), `"labelSelector"`)) {
			o.why = fmt.Sprintf("look through its labelSelectors: pods have the labels %s: %s and %s, and not those of the chart", v1alpha1.LabelName, j.name, v1alpha1.LabelComponent)
		}
		return o
	}
}

// texts copies a map of texts.
func texts(path string) rule {
	return func(j *job, p string, v any) outcome {
		m, ok := v.(map[string]any)
		if !ok && !empty(v) {
			return outcome{why: "expected a map"}
		}
		out := map[string]any{}
		for k, s := range m {
			out[k] = text(s)
		}
		return to(path)(j, p, out)
	}
}

// onlyIf copies true to a field, and has nothing to do for false, which is the default.
func onlyIf(path string) rule {
	return func(j *job, p string, v any) outcome {
		if v != true {
			return outcome{why: asItIs}
		}
		return to(path)(j, p, true)
	}
}

// password goes into a Secret of its own.
func password(j *job, _ string, v any) outcome {
	if empty(v) {
		return outcome{why: saysNothing + "; the operator makes a password"}
	}
	if j.password != "" && j.password != text(v) {
		return outcome{why: "another value is the password already"}
	}
	if err := j.set("spec.auth.secretName", j.secretName()); err != nil {
		return outcome{why: err.Error()}
	}
	j.password = text(v)
	return outcome{to: []string{"spec.auth.secretName"}, why: "the password is in Secret " + j.secretName() + ", which is printed too"}
}

// existingSecret names the Secret with the password. The keys have other names in every chart.
func existingSecret(j *job, path string, v any) outcome {
	o := to("spec.auth.secretName")(j, path, v)
	if len(o.to) > 0 {
		o.why = fmt.Sprintf("it needs the key %q", v1alpha1.SecretKeyPassword)
	}
	return o
}

func secretKey(_ *job, _ string, v any) outcome {
	if empty(v) {
		return outcome{why: saysNothing}
	}
	if v == v1alpha1.SecretKeyPassword {
		return outcome{to: []string{"spec.auth.secretName"}}
	}
	return outcome{why: fmt.Sprintf("the key is always %q; copy the password there", v1alpha1.SecretKeyPassword)}
}

// persistent says whether there are volumes. They are there for all members, if there are any.
func persistent(j *job, p string, v any) outcome {
	if v != false {
		if m, ok := j.spec["storage"].(map[string]any); ok {
			delete(m, "ephemeral")
			j.gone("spec.storage.ephemeral", "others have volumes, and all members are alike")
		}
		j.given["volumes"] = true
		return outcome{why: asItIs}
	}
	if j.given["volumes"] == true {
		return outcome{why: "others have volumes, and all members are alike"}
	}
	return to("spec.storage.ephemeral")(j, p, true)
}

// volume copies what is asked of volumes.
func volume(path string) rule {
	return func(j *job, p string, v any) outcome {
		if path == "spec.storage.storageClassName" && v == "-" {
			if err := j.set(path, ""); err != nil {
				return outcome{why: err.Error()}
			}
			return outcome{to: []string{path}, why: "- is the empty class: no dynamic provisioning"}
		}
		return to(path)(j, p, v)
	}
}

// serviceType copies the type of the Services. ClusterIP is written too: another value must not undo it.
func serviceType(j *job, p string, v any) outcome {
	o := to("spec.service.type")(j, p, v)
	if len(o.to) > 0 && v != "ClusterIP" && j.mode != v1alpha1.ModeCluster {
		o.why = "the Services for writes and for reads are both of this type"
	}
	return o
}

// serviceRules are how a Service is reached from outside, below a prefix such as master.service.
func serviceRules(prefix string) map[string]rule {
	return map[string]rule{
		prefix + ".type":                     serviceType,
		prefix + ".annotations":              texts("spec.service.annotations"),
		prefix + ".ports.redis":              port(int64(v1alpha1.PortRedis)),
		prefix + ".port":                     port(int64(v1alpha1.PortRedis)),
		prefix + ".redisPort":                port(int64(v1alpha1.PortRedis)),
		prefix + ".nodePorts.redis":          integer("spec.service.nodePorts.master"),
		prefix + ".nodePort":                 integer("spec.service.nodePorts.master"),
		prefix + ".redisNodePort":            integer("spec.service.nodePorts.master"),
		prefix + ".externalTrafficPolicy":    to("spec.service.externalTrafficPolicy"),
		prefix + ".loadBalancerClass":        to("spec.service.loadBalancerClass"),
		prefix + ".loadBalancerSourceRanges": to("spec.service.loadBalancerSourceRanges"),
		prefix + ".loadBalancerIP":           drop("write the annotation by which your provider takes an address into spec.service.annotations"),
		prefix + ".*":                        drop("the Services are those of spec.service"),
	}
}

// port tells that a port cannot be chosen.
func port(fixed int64) rule {
	return func(_ *job, _ string, v any) outcome {
		if n, ok := whole(v); empty(v) || ok && n == fixed {
			return outcome{why: asItIs}
		}
		return outcome{why: fmt.Sprintf("the port is always %d", fixed)}
	}
}

func whole(v any) (int64, bool) {
	switch v := plain(v).(type) {
	case int64:
		return v, true
	case string:
		if n, err := strconv.ParseInt(v, 10, 64); err == nil {
			return n, true
		}
	}
	return 0, false
}
