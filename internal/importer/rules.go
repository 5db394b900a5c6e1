package importer

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"redstart.dev/redstart/api/v1alpha1"
)

// saysNothing is the reason for a value that sets nothing.
const saysNothing = "it is empty, and sets nothing"

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
	return func(*job, string, any) outcome { return outcome{why: why} }
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
		if !ok {
			return outcome{why: "expected a whole number"}
		}
		return to(path)(j, p, n)
	}
}

// object copies a map; charts allow texts with templates in these places.
func object(path string) rule {
	return func(j *job, p string, v any) outcome {
		if s, ok := v.(string); ok && s != "" {
			return outcome{why: "it is text with a template; write it as YAML into " + path}
		}
		return to(path)(j, p, v)
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
			out[k] = fmt.Sprint(s)
		}
		return to(path)(j, p, out)
	}
}

// onlyIf copies true to a field, and has nothing to do for false, which is the default.
func onlyIf(path string) rule {
	return func(j *job, p string, v any) outcome {
		if v != true {
			return outcome{why: "that is so without being asked for"}
		}
		return to(path)(j, p, true)
	}
}

// password goes into a Secret of its own.
func password(j *job, _ string, v any) outcome {
	s := fmt.Sprint(v)
	if empty(v) {
		return outcome{why: saysNothing + "; the operator makes a password"}
	}
	if err := j.set("spec.auth.secretName", j.secretName()); err != nil {
		return outcome{why: err.Error()}
	}
	j.password = s
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
	if v == v1alpha1.SecretKeyPassword {
		return outcome{to: []string{"spec.auth.secretName"}}
	}
	return outcome{why: fmt.Sprintf("the key is always %q; copy the password there", v1alpha1.SecretKeyPassword)}
}

// persistent says whether there are volumes.
func persistent(j *job, p string, v any) outcome {
	if v == false {
		return to("spec.storage.ephemeral")(j, p, true)
	}
	return outcome{why: "that is so without being asked for"}
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

// serviceType copies the type of the Services.
func serviceType(j *job, p string, v any) outcome {
	if v == "ClusterIP" {
		return outcome{why: "that is so without being asked for"}
	}
	return to("spec.service.type")(j, p, v)
}

// port tells that a port cannot be chosen.
func port(fixed int64) rule {
	return func(_ *job, _ string, v any) outcome {
		if n, ok := whole(v); ok && n == fixed {
			return outcome{why: "that is so without being asked for"}
		}
		return outcome{why: fmt.Sprintf("the port is always %d", fixed)}
	}
}

// configMap copies settings of redis.conf by name, each to where it belongs.
func configMap(j *job, _ string, v any) outcome {
	m, ok := v.(map[string]any)
	if !ok {
		return outcome{why: "expected settings by name"}
	}
	var o outcome
	for _, k := range slices.Sorted(maps.Keys(m)) {
		o.add(j.setting(k, settingText(m[k])))
	}
	return o.orEmpty()
}

// configText copies the lines of a redis.conf.
func configText(j *job, _ string, v any) outcome {
	text, ok := v.(string)
	if !ok {
		return outcome{why: "expected the text of a redis.conf"}
	}
	var o outcome
	for _, line := range strings.Split(text, "\n") {
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		name, value, _ := strings.Cut(line, " ")
		value = strings.TrimSpace(value)
		if value == `""` || value == `''` {
			value = ""
		}
		o.add(j.setting(strings.ToLower(name), value))
	}
	return o.orEmpty()
}

func (o outcome) orEmpty() outcome {
	if len(o.to) == 0 && o.why == "" {
		o.why = saysNothing
	}
	return o
}

func (o *outcome) add(other outcome) {
	o.to = append(o.to, other.to...)
	if other.why != "" {
		if o.why != "" {
			o.why += "; "
		}
		o.why += other.why
	}
}

// setting puts one setting of redis.conf where it belongs. What Redstart owns has another place, or none.
func (j *job) setting(name, value string) outcome {
	if strings.Contains(value, "{{") {
		return outcome{why: name + " is a template of the chart; leave it out, or write its value"}
	}
	switch name {
	case "min-replicas-to-write", "min-slaves-to-write":
		return integer("spec.durability.minReplicasToWrite")(j, "", value)
	case "min-replicas-max-lag", "min-slaves-max-lag":
		return to("spec.durability.maxLag")(j, "", value+"s")
	}
	if instead, owned := v1alpha1.OwnedSetting(name); owned {
		return outcome{why: name + ": Redstart sets it itself; " + instead}
	}
	path := "spec.config[" + name + "]"
	if old, found := j.get(path).(string); found && name == "save" && old != value {
		value = old + " " + value // redis.conf repeats the name for each point
		j.spec["config"].(map[string]any)["save"] = value
		return outcome{}
	}
	if err := j.set(path, value); err != nil {
		return outcome{why: err.Error()}
	}
	return outcome{to: []string{path}}
}

// settingText is a value as redis.conf has it.
func settingText(v any) string {
	switch v := plain(v).(type) {
	case bool:
		if v {
			return "yes"
		}
		return "no"
	case nil:
		return ""
	case string:
		if v == `""` || v == `''` {
			return ""
		}
		return v
	default:
		return fmt.Sprint(v)
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
