package analysis

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/google/cel-go/cel"
	"github.com/prometheus/client_golang/api"
	prometheusv1 "github.com/prometheus/client_golang/api/prometheus/v1"
	"github.com/prometheus/common/model"
	"k8s.io/utils/lru"

	"redstart.dev/redstart/api/v1alpha1"
)

const (
	// queryTimeout bounds a query to Prometheus.
	queryTimeout = 10 * time.Second
	// maxBody is how much of an answer is read, in bytes.
	maxBody = 1 << 20
	// maxCost bounds a condition, in CEL's units of work.
	maxCost = 100_000
)

// Prober measures. Several goroutines may use it.
type Prober struct {
	env     *cel.Env
	http    *http.Client
	gateway Gateway
	// programs are compiled conditions: those of a Rollout are looked at each time that it is.
	programs *lru.Cache
}

// compiled bounds the compiled conditions that are held.
const compiled = 1000

// NewProber makes a Prober. gateway is that of this machine; nil where there is none.
func NewProber(gateway Gateway) (*Prober, error) {
	env, err := cel.NewEnv(cel.Variable("result", cel.DynType), cel.CrossTypeNumericComparisons(true))
	if err != nil {
		return nil, fmt.Errorf("set up CEL: %w", err)
	}
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.DisableKeepAlives = true // measurements are rare
	transport.ResponseHeaderTimeout = queryTimeout
	return &Prober{env: env, gateway: gateway, http: &http.Client{Transport: transport}, programs: lru.New(compiled)}, nil
}

// Measure makes one measurement. The value is its result for people, or what went wrong.
func (p *Prober) Measure(ctx context.Context, c v1alpha1.AnalysisCheck, target Target) (outcome Outcome, value string) {
	result, err := p.result(ctx, c, target)
	if err != nil {
		return Broken, err.Error()
	}
	success, failure := conditions(c)
	outcome, err = p.judge(success, failure, result)
	if err != nil {
		return Broken, err.Error()
	}
	return outcome, show(result)
}

func (p *Prober) result(ctx context.Context, c v1alpha1.AnalysisCheck, target Target) (any, error) {
	switch {
	case c.Prometheus != nil && c.Prometheus.Address == "":
		return p.ask(c.Prometheus, target)
	case c.Prometheus != nil:
		return p.query(ctx, c.Prometheus, target)
	case c.HTTP != nil:
		return p.request(ctx, c.HTTP, target)
	}
	return nil, errors.New("the check measures nothing")
}

// fill puts what a check is about into its text.
func fill(s string, t Target) string {
	return placeholder.ReplaceAllStringFunc(s, func(p string) string {
		if of := placeholders[p]; of != nil {
			return of(t)
		}
		return p
	})
}

func (p *Prober) query(ctx context.Context, c *v1alpha1.PrometheusCheck, target Target) (any, error) {
	client, err := api.NewClient(api.Config{Address: c.Address, Client: p.http})
	if err != nil {
		return nil, fmt.Errorf("address of Prometheus %s: %w", c.Address, err)
	}
	ctx, cancel := context.WithTimeout(ctx, queryTimeout)
	defer cancel()
	v, _, _, err := prometheusv1.NewAPI(client).Query(ctx, fill(queryOf(c), target), time.Now(), prometheusv1.WithTimeout(queryTimeout))
	if err != nil {
		return nil, fmt.Errorf("ask Prometheus at %s: %w", c.Address, err)
	}
	return numbers(v)
}

// numbers are the result of a query: a number, or a list of them if it is a vector of several. Nothing, and what is no
// number, is an error: nobody has measured anything then.
func numbers(v model.Value) (any, error) {
	switch v := v.(type) {
	case *model.Scalar:
		return number(v.Value)
	case model.Vector:
		if len(v) == 1 {
			return number(v[0].Value)
		}
		if len(v) == 0 {
			return nil, errors.New("the query has no result")
		}
		list := make([]float64, len(v))
		for i, s := range v {
			n, err := number(s.Value)
			if err != nil {
				return nil, err
			}
			list[i] = n
		}
		return list, nil
	}
	return nil, fmt.Errorf("the result of the query is a %s; expected a number or a vector", v.Type())
}

func number(v model.SampleValue) (float64, error) {
	if math.IsNaN(float64(v)) {
		return 0, errors.New("the result of the query is not a number (NaN): there may have been no requests")
	}
	return float64(v), nil
}

func (p *Prober) request(ctx context.Context, c *v1alpha1.HTTPCheck, target Target) (any, error) {
	ctx, cancel := context.WithTimeout(ctx, c.Timeout.Duration)
	defer cancel()
	url := fill(c.URL, target)
	req, err := http.NewRequestWithContext(ctx, c.Method, url, nil)
	if err != nil {
		return nil, fmt.Errorf("ask %s: %w", url, err)
	}
	for _, h := range c.Headers {
		req.Header.Set(h.Name, h.Value)
		if strings.EqualFold(h.Name, "Host") {
			req.Host = h.Value
		}
	}
	resp, err := p.http.Do(req)
	if err != nil {
		return nil, fmt.Errorf("ask %s: %w", url, err)
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxBody))
	if err != nil {
		return nil, fmt.Errorf("read the answer of %s: %w", url, err)
	}
	result := map[string]any{"status": int64(resp.StatusCode), "body": string(body)}
	var decoded any
	if json.NewDecoder(bytes.NewReader(body)).Decode(&decoded) == nil {
		result["json"] = decoded
	}
	return result, nil
}

// judge applies the conditions. With one of them, what it does not say is the opposite.
func (p *Prober) judge(success, failure string, result any) (Outcome, error) {
	failed, err := p.holds(failure, result)
	if err != nil {
		return "", fmt.Errorf("failureCondition: %w", err)
	}
	if failed {
		return Failure, nil
	}
	if success == "" {
		return Success, nil
	}
	succeeded, err := p.holds(success, result)
	switch {
	case err != nil:
		return "", fmt.Errorf("successCondition: %w", err)
	case succeeded:
		return Success, nil
	case failure == "":
		return Failure, nil
	}
	return Inconclusive, nil
}

func (p *Prober) holds(expression string, result any) (bool, error) {
	if expression == "" {
		return false, nil
	}
	program, err := p.compile(expression)
	if err != nil {
		return false, err
	}
	out, _, err := program.Eval(map[string]any{"result": result})
	if err != nil {
		return false, fmt.Errorf("%s: %w", expression, err)
	}
	held, ok := out.Value().(bool)
	if !ok {
		return false, fmt.Errorf("%s is %v; expected true or false", expression, out.Value())
	}
	return held, nil
}

func (p *Prober) compile(expression string) (cel.Program, error) {
	if known, ok := p.programs.Get(expression); ok {
		return known.(cel.Program), nil //nolint:forcetypeassert // nothing else is put there
	}
	ast, issues := p.env.Compile(expression)
	if issues.Err() != nil {
		return nil, fmt.Errorf("%s: %s", expression, issues.Errors()[0].Message)
	}
	if t := ast.OutputType(); !t.IsExactType(cel.BoolType) && !t.IsExactType(cel.DynType) {
		return nil, fmt.Errorf("%s is of type %s; expected true or false", expression, t)
	}
	program, err := p.env.Program(ast, cel.CostLimit(maxCost))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", expression, err)
	}
	p.programs.Add(expression, program)
	return program, nil
}

// show is a result for people.
func show(result any) string {
	switch v := result.(type) {
	case float64:
		return strconv.FormatFloat(v, 'g', 6, 64)
	case map[string]any:
		return fmt.Sprintf("status %v", v["status"])
	}
	return fmt.Sprint(result)
}
