package traffic

import (
	"context"
	"io/fs"
	"testing"
	"time"

	glua "github.com/yuin/gopher-lua"
)

const threeHosts = `
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: web, namespace: shop}
spec:
  hosts: [a.example.com, b.example.com, c.example.com]
  http:
  - match: [{authority: {exact: a.example.com}}]
    route: [{destination: {host: frontend}}]
  - match: [{authority: {exact: b.example.com}}]
    route: [{destination: {host: frontend.shop.svc.cluster.local}, weight: 60}, {destination: {host: legacy}, weight: 40}]
  - match: [{authority: {exact: c.example.com}}]
    redirect: {uri: /c}
`

// BenchmarkStep runs a step of the VirtualService script in the sandbox, compiled once, and by plain gopher-lua, which
// parses it each time and bounds nothing. The ratio is that of their times in this run.
func BenchmarkStep(b *testing.B) {
	source, err := fs.ReadFile(Shipped(), "networking.istio.io/VirtualService/trafficRouting.lua")
	if err != nil {
		b.Fatal(err)
	}
	script, err := NewScripts(Shipped()).Custom("networking.istio.io/v1", "VirtualService")
	if err != nil {
		b.Fatal(err)
	}
	original := dataOf(parse(b, threeHosts))
	step, services := weight(20), Services{"frontend", "frontend-canary"}
	sandboxed := func() {
		if _, err := run(context.Background(), script, original, "shop", step, services); err != nil {
			b.Fatal(err)
		}
	}
	plain := func() {
		L := glua.NewState()
		defer L.Close()
		L.SetGlobal("obj", toPlain(L, customObject(original.object(), "shop", step, services)))
		if err := L.DoString(string(source)); err != nil {
			b.Fatal(err)
		}
		if _, err := dataFrom(fromPlain(L.Get(-1))); err != nil {
			b.Fatal(err)
		}
	}
	var ours, theirs time.Duration
	for b.Loop() {
		start := time.Now()
		sandboxed()
		ours += time.Since(start)
		start = time.Now()
		plain()
		theirs += time.Since(start)
	}
	b.ReportMetric(float64(ours.Microseconds())/float64(b.N), "sandbox-µs/step")
	b.ReportMetric(float64(theirs.Microseconds())/float64(b.N), "plain-µs/step")
	b.ReportMetric(float64(theirs)/float64(ours), "plain/sandbox")
}

func toPlain(L *glua.LState, value any) glua.LValue {
	switch v := value.(type) {
	case string:
		return glua.LString(v)
	case bool:
		return glua.LBool(v)
	case int64:
		return glua.LNumber(v)
	case float64:
		return glua.LNumber(v)
	case []any:
		t := L.NewTable()
		for _, item := range v {
			t.Append(toPlain(L, item))
		}
		return t
	case map[string]any:
		t := L.NewTable()
		for key, item := range v {
			t.RawSetString(key, toPlain(L, item))
		}
		return t
	}
	return glua.LNil
}

func fromPlain(value glua.LValue) any {
	t, ok := value.(*glua.LTable)
	switch v := value.(type) {
	case glua.LString:
		return string(v)
	case glua.LNumber:
		return int64(v)
	case glua.LBool:
		return bool(v)
	}
	if !ok {
		return nil
	}
	if t.Len() > 0 {
		var list []any
		for i := 1; i <= t.Len(); i++ {
			list = append(list, fromPlain(t.RawGetInt(i)))
		}
		return list
	}
	object := map[string]any{}
	t.ForEach(func(key, item glua.LValue) { object[key.String()] = fromPlain(item) })
	return object
}
