package services

import (
	"errors"
	"fmt"
	"net"
	"strconv"

	corev1 "k8s.io/api/core/v1"
)

// message is for the owner of the Service: which port, who has it, what to do.
func (c conflict) message() string {
	s := fmt.Sprintf("port %d cannot be published at %s: %s", c.port, c.address, reason(c.address, c.err))
	if c.instead != "" {
		return s + "; it is published at " + c.instead + " instead"
	}
	return s + "; stop that program, or choose another port"
}

// reason tells why an address cannot be opened, with the program that has it if that can be found.
func reason(address string, err error) string {
	if who := holder(address); who != "" {
		return "it is in use by " + who
	}
	var op *net.OpError
	if errors.As(err, &op) {
		return op.Err.Error()
	}
	return err.Error()
}

// CheckPublished tells, before anything is started, whether the ports that services want on this machine are free.
// The error names each port that is not, the program that has it if that can be found, and what to do.
func CheckPublished(services []*corev1.Service) error {
	var errs []error
	taken := map[string]string{}
	for _, svc := range services {
		for i := range svc.Spec.Ports {
			sp := &svc.Spec.Ports[i]
			for _, n := range publishedPorts(svc, sp) {
				address := net.JoinHostPort(publishedIP, strconv.Itoa(int(n)))
				field, name := fmt.Sprintf("spec.ports[%d].port", i), "Service "+svc.Name
				if n == sp.NodePort && n != sp.Port {
					field = fmt.Sprintf("spec.ports[%d].nodePort", i)
				}
				why := ""
				if other := taken[address]; other != "" {
					why = "it is wanted by " + other + " too"
				} else if l, err := net.Listen("tcp", address); err != nil {
					why = reason(address, err)
				} else if err := l.Close(); err != nil {
					why = err.Error()
				}
				taken[address] = name
				if why != "" {
					errs = append(errs, fmt.Errorf("%s: %s: cannot listen on %s: %s; stop that program, or choose another port", name, field, address, why))
				}
			}
		}
	}
	return errors.Join(errs...)
}
