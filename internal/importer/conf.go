package importer

import (
	"maps"
	"slices"
	"strings"

	"redstart.dev/redstart/api/v1alpha1"
)

// conf are settings of redis.conf, in their order.
type conf struct {
	names  []string
	values map[string]string
}

// several are settings whose lines add up; another line of any other takes the place of the first.
var several = []string{"save", "client-output-buffer-limit"}

// line takes one line as a server does.
func (c *conf) line(name, value string) {
	old, found := c.values[name]
	if !found {
		c.names = append(c.names, name)
	}
	if c.values == nil {
		c.values = map[string]string{}
	}
	if old != "" && value != "" && slices.Contains(several, name) { // an empty save takes all points away
		value = old + " " + value
	}
	c.values[name] = value
}

// confOf reads lines of a redis.conf.
func confOf(lines []string) conf {
	var c conf
	for _, line := range lines {
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		name, value, _ := strings.Cut(line, " ")
		c.line(strings.ToLower(name), settingText(strings.TrimSpace(value)))
	}
	return c
}

// settings puts every setting where it belongs.
func (j *job) settings(c conf) outcome {
	var o outcome
	for _, name := range c.names {
		o.add(j.setting(name, c.values[name]))
	}
	return o.orEmpty()
}

// settingText is a value as redis.conf has it.
func settingText(v any) string {
	switch v := v.(type) {
	case bool:
		if v {
			return "yes"
		}
		return "no"
	case string:
		if len(v) > 1 && (v[0] == '"' || v[0] == '\'') && v[len(v)-1] == v[0] && !strings.ContainsAny(v[1:len(v)-1], `"'\`) {
			return v[1 : len(v)-1] // the quotes of a configuration file
		}
	}
	return text(v)
}

// lines takes a value, or a list of them: a setting with several lines.
func (c *conf) lines(name string, v any) {
	list, ok := v.([]any)
	if !ok {
		list = []any{v}
	}
	for _, item := range list {
		c.line(name, settingText(item))
	}
}

// configMap copies settings of redis.conf by name, each to where it belongs.
func configMap(j *job, _ string, v any) outcome {
	if empty(v) {
		return outcome{why: saysNothing}
	}
	m, ok := v.(map[string]any)
	if !ok {
		return outcome{why: "expected settings by name"}
	}
	var c conf
	for _, k := range slices.Sorted(maps.Keys(m)) {
		c.lines(k, m[k])
	}
	return j.settings(c)
}

// settingOf copies one setting of redis.conf.
func settingOf(name string) rule {
	return func(j *job, _ string, v any) outcome {
		var c conf
		c.lines(name, v)
		return j.settings(c)
	}
}

// configText copies the lines of a redis.conf.
func configText(j *job, _ string, v any) outcome {
	if empty(v) {
		return outcome{why: saysNothing}
	}
	text, ok := v.(string)
	if !ok {
		return outcome{why: "expected the text of a redis.conf"}
	}
	return j.settings(confOf(strings.Split(text, "\n")))
}

// flags copies arguments of redis-server: --NAME VALUE, in one piece or in several.
func flags(j *job, _ string, v any) outcome {
	if empty(v) {
		return outcome{why: saysNothing}
	}
	list, ok := v.([]any)
	if !ok {
		return outcome{why: "expected a list of arguments"}
	}
	var words []string
	for _, item := range list {
		words = append(words, strings.Fields(text(item))...)
	}
	var lines []string
	for _, w := range words {
		if name, found := strings.CutPrefix(w, "--"); found {
			lines = append(lines, name)
		} else if len(lines) > 0 {
			lines[len(lines)-1] += " " + w
		} else {
			return outcome{why: "expected --NAME VALUE; write it into spec.config"}
		}
	}
	return j.settings(confOf(lines))
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
	if err := j.set(path, value); err != nil {
		return outcome{why: err.Error()}
	}
	return outcome{to: []string{path}}
}
