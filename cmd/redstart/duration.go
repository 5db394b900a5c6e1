package main

import (
	"errors"
	"time"

	"github.com/spf13/pflag"
)

// positive is the value of a flag that says for how long: any duration longer than nothing.
type positive time.Duration

// positiveVar adds a flag with such a value to f. Its default may be zero, for not given.
func positiveVar(f *pflag.FlagSet, p *time.Duration, name string, value time.Duration, usage string) {
	*p = value
	f.Var((*positive)(p), name, usage)
}

func (d *positive) Set(text string) error {
	v, err := time.ParseDuration(text)
	switch {
	case err != nil:
		return errors.New("expected a number with a unit, such as 500ms, 30s or 2m")
	case v <= 0:
		return errors.New("expected more than nothing, such as 30s")
	}
	*d = positive(v)
	return nil
}

func (d *positive) String() string {
	if *d == 0 {
		return ""
	}
	return time.Duration(*d).String()
}

func (d *positive) Type() string { return "duration" }
